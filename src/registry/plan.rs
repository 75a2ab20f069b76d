//! The plan for a name: its endpoints in order, and the settings for each. Reads the configuration and sends no
//! requests.

use super::connections::Connections;
use super::endpoint::Endpoint;
use super::system::Notice;
use crate::error::Result;
use crate::oci::reference::Reference;

/// The settings for one endpoint.
pub(crate) struct Planned {
    /// The repository's URL in the API. If the scheme is not certain, the URLs in the order in which they are tried.
    pub(crate) urls: Vec<String>,
    pub(crate) resolves: bool,
    pub(crate) pulls: bool,
    pub(crate) is_named: bool,
    pub(crate) namespace: Option<String>,
    /// The file or option that configured the endpoint. Empty for a registry that nothing configures.
    pub(crate) from: String,
    pub(crate) tls: Option<PlannedTls>,
    /// The URL of each proxy in use, and what configures it.
    pub(crate) proxies: Vec<(String, String)>,
    /// The name under which credentials are stored for it.
    pub(crate) name: Reference,
}

/// The settings of TLS connections to one endpoint.
pub(crate) struct PlannedTls {
    /// The file or option because of which the certificate is not verified.
    pub(crate) insecure: Option<String>,
    pub(crate) authorities: Vec<String>,
    pub(crate) client: Option<String>,
}

impl Connections {
    /// Returns the endpoints of a name, and the place of the TLS roots if one of the endpoints needs them.
    pub(crate) fn plan(&self, name: &Reference) -> Result<(Vec<Planned>, Option<String>)> {
        let mut planned = Vec::new();
        for endpoint in self.endpoints(name)? {
            planned.push(self.plan_endpoint(endpoint)?);
        }
        #[cfg(feature = "tls")]
        if planned.iter().any(|planned| planned.tls.as_ref().is_some_and(|tls| tls.insecure.is_none())) {
            self.trust.roots();
        }
        let roots = self.notices.take().into_iter().find_map(|notice| match notice {
            Notice::Configured { what, from } if what == "TLS roots" => Some(from),
            _ => None,
        });
        Ok((planned, roots))
    }

    fn plan_endpoint(&self, endpoint: Endpoint) -> Result<Planned> {
        let (mut urls, mut proxies) = (Vec::new(), Vec::new());
        for base_url in &endpoint.base_urls {
            urls.push(base_url.with_target(format!("{}/{}", endpoint.api, endpoint.path)).to_string());
            if let Some(proxy) = self.config.system.proxy(base_url.is_https(), base_url.host(), base_url.port())? {
                proxies.push((proxy.url(), proxy.from));
            }
        }
        proxies.dedup();
        Ok(Planned {
            urls,
            tls: self.plan_tls(&endpoint)?,
            resolves: endpoint.resolves,
            pulls: endpoint.pulls,
            is_named: endpoint.is_named,
            namespace: endpoint.namespace,
            from: endpoint.from,
            proxies,
            name: endpoint.name,
        })
    }

    /// Returns `None` for an endpoint without an https URL.
    fn plan_tls(&self, endpoint: &Endpoint) -> Result<Option<PlannedTls>> {
        let Some(url) = endpoint.base_urls.iter().find(|url| url.is_https()) else { return Ok(None) };
        let mut planned = PlannedTls { insecure: None, authorities: Vec::new(), client: None };
        planned.insecure =
            if endpoint.peer.is_insecure { Some(endpoint.from.clone()) } else { self.insecure.source(url)? };
        #[cfg(feature = "tls")]
        self.plan_certificates(endpoint, &mut planned)?;
        Ok(Some(planned))
    }

    #[cfg(feature = "tls")]
    fn plan_certificates(&self, endpoint: &Endpoint, planned: &mut PlannedTls) -> Result<()> {
        let given = || "given explicitly".to_owned();
        let names: Vec<&str> = endpoint.peer.names.iter().map(String::as_str).collect();
        let (found, _) = self.config.system.certificates(&names, &endpoint.peer.files)?;
        planned.authorities.extend(found.authorities.into_iter().map(|(file, _)| file));
        if self.config.tls.ca_pem.is_some() {
            planned.authorities.push(given());
        }
        planned.client = if endpoint.is_named && self.config.tls.client_pem.is_some() {
            Some(given())
        } else {
            found.client.map(|[(file, _), _]| file)
        };
        Ok(())
    }
}
