//! Certificates of authorities that live as long as a test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// An authority that vouches for whom it is asked to.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// For when a certificate is valid.
#[derive(Clone, Copy)]
pub enum Valid {
    Now,
    LongAgo,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("an authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes `ca.pem`, and `certificate.pem` and `key.pem` of whoever has this name, into a folder.
    pub fn write(&self, folder: &Path, name: &str, valid: Valid) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name = named(name);
        if let Valid::LongAgo = valid {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(folder.join("ca.pem"), &self.pem).unwrap();
        fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    }

    /// Writes the certificate of the authority alone, and tells where it is.
    pub fn write_ca(&self, folder: &Path) -> PathBuf {
        let file = folder.join("another-ca.pem");
        fs::write(&file, &self.pem).unwrap();
        file
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
