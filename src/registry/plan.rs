//! What would be done for a name, without doing it: the endpoints in their order, with all that decides how each is asked.
//! Reads configuration and contacts nobody.

use super::connections::Connections;
use super::endpoint::Endpoint;
use super::system::Notice;
use super::url::Url;
use crate::error::Result;
use crate::oci::reference::Reference;

/// How one endpoint would be asked.
pub(crate) struct Planned {
    /// The repository's URL in the API; where the scheme is not certain, all in the order in which they are tried.
    pub(crate) urls: Vec<String>,
    pub(crate) resolves: bool,
    pub(crate) pulls: bool,
    pub(crate) is_named: bool,
    pub(crate) namespace: Option<String>,
    /// Which file or option names it; empty for the registry as its name says.
    pub(crate) from: String,
    pub(crate) tls: Option<PlannedTls>,
    /// URL and variable of a proxy, for each that is used.
    pub(crate) proxies: Vec<(String, String)>,
    /// The name by which credentials are kept for it.
    pub(crate) name: Reference,
}

/// How a connection over TLS would be made.
pub(crate) struct PlannedTls {
    /// What says that the certificate is not verified, if anything does.
    pub(crate) insecure: Option<String>,
    pub(crate) authorities: Vec<String>,
    pub(crate) client: Option<String>,
}

impl Connections {
    /// The endpoints of a name, and where the roots for TLS would come from.
    pub(crate) fn plan(&self, name: &Reference) -> Result<(Vec<Planned>, Option<String>)> {
        let endpoints = self.endpoints(name)?;
        let planned = endpoints.into_iter().map(|endpoint| self.planned(endpoint)).collect::<Result<Vec<_>>>()?;
        let is_verified = |planned: &Planned| planned.tls.as_ref().is_some_and(|tls| tls.insecure.is_none());
        if planned.iter().any(is_verified) {
            #[cfg(feature = "tls")]
            self.trust.roots();
        }
        let roots = self.notices.take().into_iter().find_map(|finding| match finding {
            Notice::Configured { what, from } if what == "TLS roots" => Some(from),
            _ => None,
        });
        Ok((planned, roots))
    }

    fn planned(&self, endpoint: Endpoint) -> Result<Planned> {
        let at = |root: &Url| root.at(format!("{}/{}", endpoint.api, endpoint.path)).to_string();
        let mut proxies = Vec::new();
        for root in &endpoint.roots {
            if let Some(proxy) = self.config.machine.proxy(root.is_https(), root.host(), root.port())? {
                proxies.push((proxy.url(), format!("${}", proxy.variable)));
            }
        }
        proxies.dedup();
        let secure = endpoint.roots.iter().find(|root| root.is_https());
        Ok(Planned {
            urls: endpoint.roots.iter().map(at).collect(),
            tls: secure.map(|root| self.planned_tls(&endpoint, root)).transpose()?,
            resolves: endpoint.resolves,
            pulls: endpoint.pulls,
            is_named: endpoint.is_named,
            namespace: endpoint.namespace,
            from: endpoint.from,
            proxies,
            name: endpoint.name,
        })
    }

    #[cfg(feature = "tls")]
    fn planned_tls(&self, endpoint: &Endpoint, root: &Url) -> Result<PlannedTls> {
        let names: Vec<&str> = endpoint.peer.names.iter().map(String::as_str).collect();
        let (found, _) = self.config.machine.certificates(&names, &endpoint.peer.files)?;
        let given = "given explicitly".to_owned();
        let is_given = endpoint.is_named && self.config.tls.client_pem.is_some();
        let mut authorities: Vec<String> = found.authorities.into_iter().map(|(name, _)| name).collect();
        authorities.extend(self.config.tls.ca_pem.iter().map(|_| "given explicitly".to_owned()));
        Ok(PlannedTls {
            insecure: if endpoint.peer.is_insecure { Some(endpoint.from.clone()) } else { self.insecure.says(root)? },
            authorities,
            client: if is_given { Some(given) } else { found.client.map(|[(name, _), _]| name) },
        })
    }

    /// No connection over TLS is made.
    #[cfg(not(feature = "tls"))]
    fn planned_tls(&self, endpoint: &Endpoint, root: &Url) -> Result<PlannedTls> {
        let insecure =
            if endpoint.peer.is_insecure { Some(endpoint.from.clone()) } else { self.insecure.says(root)? };
        Ok(PlannedTls { insecure, authorities: Vec::new(), client: None })
    }
}
