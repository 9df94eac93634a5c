//! Servers that speak TLS, and certificates for both sides.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

use super::Server;

/// An authority with a certificate for a server on this machine and one for its clients, each in PEM files.
pub(crate) struct Tls {
    folder: TempDir,
}

impl Tls {
    /// Each call makes an authority that nobody else trusts.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let made = Self {
            folder: TempDir::new()?,
        };
        let mut params = CertificateParams::default();
        // Were it called like another one, its certificates would pass for that one's, badly signed.
        let name = format!("kiln test authority {:08x}", fastrand::u32(..));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(made.authority(), authority.pem())?;
        made.certify(&authority, "server", ExtendedKeyUsagePurpose::ServerAuth)?;
        made.certify(&authority, "client", ExtendedKeyUsagePurpose::ClientAuth)?;
        Ok(made)
    }

    /// A server that speaks only TLS, with these arguments on top; `auth_clients` makes it ask for a certificate.
    pub(crate) fn start(&self, auth_clients: bool, arguments: &[&str]) -> anyhow::Result<Server> {
        let [certificate, key, authority] =
            [self.file("server.crt"), self.file("server.key"), self.authority()].map(|path| path.display().to_string());
        let own = [
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &authority,
            "--tls-auth-clients",
            if auth_clients { "yes" } else { "no" },
        ];
        Server::start(&[&own, arguments].concat())
    }

    /// The authority's certificate, which a client has to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.file("authority.crt")
    }

    pub(crate) fn server_certificate(&self) -> PathBuf {
        self.file("server.crt")
    }

    pub(crate) fn server_key(&self) -> PathBuf {
        self.file("server.key")
    }

    pub(crate) fn client_certificate(&self) -> PathBuf {
        self.file("client.crt")
    }

    pub(crate) fn client_key(&self) -> PathBuf {
        self.file("client.key")
    }

    fn certify(
        &self,
        authority: &CertifiedIssuer<'_, KeyPair>,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
    ) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(["127.0.0.1", "localhost", "server.example"].map(str::to_owned))?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, authority)?;
        std::fs::write(self.file(&format!("{name}.crt")), certificate.pem())?;
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem())?;
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
