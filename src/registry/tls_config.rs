//! What the user said of TLS, on its way to who acts on it. Nothing is parsed here.

/// What the user said of TLS.
#[derive(Clone, Default)]
pub(crate) struct TlsConfig {
    pub(crate) ca_pem: Option<Vec<u8>>,
    /// A certificate with its chain, and its key.
    pub(crate) client_pem: Option<[Vec<u8>; 2]>,
    /// `HOST[:PORT]`: their certificates are not verified, and they may speak plain HTTP.
    pub(crate) insecure: Vec<String>,
}

/// Without the key.
impl std::fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ca_pem, client_pem, insecure } = self;
        write!(f, "TlsConfig(CA: {}, client: {}, {insecure:?})", ca_pem.is_some(), client_pem.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_not_shown() {
        let client_pem = Some([b"certificate".to_vec(), b"secret".to_vec()]);
        let shown = format!("{:?}", TlsConfig { client_pem, ..TlsConfig::default() });
        assert_eq!(shown, "TlsConfig(CA: false, client: true, [])");
    }
}
