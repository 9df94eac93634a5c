//! How requests leave the host: whose certificates are trusted, and through which proxy.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::recording::Tape;

/// Authorities in one file. Those of the largest systems come to two hundred.
const MAX_AUTHORITIES: usize = 1_000;

/// How requests of all handlers leave the host.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    /// Authorities that are trusted beside those of the Web.
    pub authorities: Authorities,
    /// What carries requests to public addresses; none: they go straight there.
    pub proxy: Option<Proxy>,
    /// Keeps what servers answer, or answers in their place; none: neither.
    pub tape: Option<Tape>,
}

/// Certificates of authorities.
#[derive(Clone, Default)]
pub struct Authorities(Arc<[CertificateDer<'static>]>);

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorities").field(&self.0.len()).finish()
    }
}

impl Authorities {
    /// Reads the authorities of a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read, holds no certificate, or holds one that is not an authority's.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |why: String| format!("{}: {why}", path.display());
        let certificates = CertificateDer::pem_file_iter(path).map_err(|err| wrong(err.to_string()))?;
        let certificates: Vec<_> = certificates
            .take(MAX_AUTHORITIES + 1)
            .collect::<Result<_, _>>()
            .map_err(|err| wrong(err.to_string()))?;
        if certificates.is_empty() || certificates.len() > MAX_AUTHORITIES {
            let why = format!("holds {} certificates, not 1 to {MAX_AUTHORITIES}", certificates.len());
            return Err(wrong(why));
        }
        let mut roots = rustls::RootCertStore::empty();
        for certificate in &certificates {
            roots
                .add(certificate.clone())
                .map_err(|err| wrong(format!("a certificate cannot be used: {err}")))?;
        }
        Ok(Self(certificates.into()))
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each, in DER.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }
}

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    /// The value of `proxy-authorization`.
    authorization: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl Proxy {
    /// Reads `http://host:port` or `http://user:password@host:port`.
    ///
    /// # Errors
    /// What is wrong with the URL. Does not quote it, since it may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let form = || {
            "a proxy is written like http://proxy.example:3128 or http://user:password@proxy.example:3128".to_owned()
        };
        let rest = url.strip_prefix("http://").ok_or_else(form)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(form());
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().ok().filter(|port| *port != 0).ok_or_else(form)?,
            authorization: user.map(|user| {
                format!(
                    "Basic {}",
                    STANDARD.encode(percent_decode_str(user).collect::<Vec<_>>())
                )
            }),
        })
    }

    /// Its name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value that it expects in `proxy-authorization`.
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_with_its_credentials_and_shown_without() {
        let plain = Proxy::parse("http://proxy.example:3128/").unwrap();
        assert_eq!(
            (plain.host(), plain.port(), plain.authorization()),
            ("proxy.example", 3128, None)
        );
        let known = Proxy::parse("http://me:p%40ss%3a@[::1]:80").unwrap();
        assert_eq!(
            (known.host(), known.authorization()),
            ("::1", Some("Basic bWU6cEBzczo="))
        );
        assert_eq!(format!("{known:?}"), "Proxy(::1:80)");
        for wrong in [
            "proxy:3128",
            "https://proxy:1",
            "http://proxy",
            "http://:1",
            "http://a b:1",
            "http://a:0",
            "http://a:99999",
        ] {
            assert!(
                Proxy::parse(wrong).unwrap_err().starts_with("a proxy is written like"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn authorities_are_certificates_in_pem() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("kiln-authorities-{}.pem", std::process::id()));
        let made = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
        for (text, why) in [
            (made.cert.pem(), None),
            (String::new(), Some("holds 0 certificates")),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
                Some("cannot be used"),
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let read = Authorities::read(&path);
            match why {
                None => assert_eq!(read.unwrap().iter().count(), 1),
                Some(why) => assert!(read.as_ref().is_err_and(|err| err.contains(why)), "{read:?}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
