//! Why there is no connection.

/// Why there is no connection. Each capability has its own words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox::capabilities) enum Unconnected {
    /// The name is not known.
    Unresolved,
    /// Resolving the name took too long.
    LookupTimeout,
    /// Nothing listens there.
    Refused,
    /// No way leads there.
    Unroutable,
    /// It failed otherwise, or the proxy says so.
    Unavailable,
    /// It took too long.
    Timeout,
    /// The connection broke while it was set up.
    Broken,
    /// The server could not prove that it has the name.
    Certificate,
    /// The server ended the handshake with this alert.
    Alert(u8),
    /// TLS failed otherwise.
    Tls,
    /// A name that no certificate can be for.
    NoServerName,
    /// The proxy wants other credentials. Only the operator can give them, not the guest.
    ProxyCredentials,
    /// The proxy's answer is too long.
    ProxyAnswerSize,
    /// The proxy does not keep to HTTP, or refuses.
    Proxy,
}
