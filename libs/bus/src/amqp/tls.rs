//! Whom to take for the broker, and what to show it: TLS.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use rustls::CertificateError;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

/// What an `amqps://` address says about certificates. Files are read at each connect, so that what is replaced there
/// is used from the next connection on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    /// `cacertfile`: these authorities and no others. Without it, those of the system, which `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` replace.
    pub(super) authorities: Option<PathBuf>,
    /// `certfile` and `keyfile`: who we are, for a broker that asks.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    /// `server_name_indication`: whose certificate is expected; without it, the host's.
    pub(super) server_name: Option<String>,
}

/// Why there is no connection to a broker that is to be trusted, for people.
#[derive(Debug)]
pub(super) struct Untrusted(String);

impl Tls {
    /// What makes a connection safe.
    ///
    /// # Errors
    /// If a file cannot be used, or nobody is trusted.
    pub(super) fn connector(&self) -> Result<RustlsConnector, Untrusted> {
        let config = match &self.authorities {
            None => RustlsConnectorConfig::new_with_native_certs().map_err(|error| {
                Untrusted(format!(
                    "this system trusts nobody ({error}): name the file of an authority in the address, ?cacertfile=, \
                     or in SSL_CERT_FILE"
                ))
            })?,
            Some(file) => {
                let mut config = RustlsConnectorConfig::default();
                config.add_parsable_certificates(certificates(file)?);
                config
            }
        };
        let connector = match &self.identity {
            None => config.connector_with_no_client_auth(),
            Some((certificate, key)) => config.connector_with_single_cert(certificates(certificate)?, private(key)?),
        };
        connector.map_err(|error| Untrusted(format!("the certificates of the address cannot be used: {error}")))
    }
}

impl Untrusted {
    /// What a handshake failed by.
    pub(super) fn handshake(error: &io::Error) -> Self {
        let refused = |why: &dyn fmt::Display| Self(format!("the broker's certificate is refused: {why}"));
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            // The latter: of one that has the same name as a trusted one.
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => refused(&"no authority that is trusted has signed it"),
            Some(rustls::Error::InvalidCertificate(why)) => refused(why),
            Some(rustls::Error::InvalidMessage(_)) => {
                Self("the broker does not speak TLS at this port, and nothing is sent in the clear".to_owned())
            }
            _ => Self(format!("no TLS with the broker: {error}")),
        }
    }
}

impl From<Untrusted> for io::Error {
    fn from(reason: Untrusted) -> Self {
        Self::new(io::ErrorKind::InvalidData, reason)
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Untrusted {}

/// All certificates of a PEM file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Untrusted> {
    let read = CertificateDer::pem_file_iter(file).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(found) if found.is_empty() => Err(unusable(file, &"there is no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(file, &readable(&error))),
    }
}

fn private(file: &Path) -> Result<PrivateKeyDer<'static>, Untrusted> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| unusable(file, &readable(&error)))
}

fn unusable(file: &Path, why: &dyn fmt::Display) -> Untrusted {
    Untrusted(format!("{} cannot be used: {why}", file.display()))
}

/// Shows nothing of what the file contains.
fn readable(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "what is expected is not in it".to_owned(),
        _ => "it is not PEM".to_owned(),
    }
}
