//! A CA for links, for trying out and for tests: makes the certificates of nodes.
//!
//! Keys are Ed25519 and every number in a certificate has a fixed width, so that certificates of the same names
//! have the same length whatever was drawn: a simulated handshake then moves the same bytes with each run.
//! The CA's name is made of its key, so that the key alone is enough to go on with it.

use super::server_name;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber,
};
use rustls::pki_types::UnixTime;
use std::fmt;
use time::OffsetDateTime;

/// Bytes of a serial number. RFC 5280, 4.1.2.2, allows 20; 16 of a random key never meet again.
const SERIAL_BYTES: usize = 16;

/// Why there is no certificate. Each text is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The CA's key is none.
    #[error("the CA's key can't be used ({0}); it must be an Ed25519 key in PKCS#8 PEM form")]
    Key(rcgen::Error),
    /// Nobody has such a name.
    #[error("{0:?} is neither a name nor an IP address; write a host without a port")]
    Host(String),
    /// The time can't stand in a certificate.
    #[error("certificates can't tell of the time {0} s after 1970; set the clock right")]
    Time(u64),
    /// Something else.
    #[error("can't make a certificate: {0}")]
    Failed(rcgen::Error),
}

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// The first second.
    pub from: UnixTime,
    /// The last second.
    pub until: UnixTime,
}

/// A certificate and its key, each in PEM form.
pub struct Issued {
    /// For everybody.
    pub certificate: String,
    /// For its node alone.
    pub key: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Who makes the certificates of a cluster's nodes: whoever has its key can be any node.
pub struct Authority {
    key: KeyPair,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new CA. Its key is drawn by the system.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, AuthorityError> {
        Ok(Self { key: new_key()? })
    }

    /// The CA that [`Authority::key`] was of.
    ///
    /// # Errors
    /// When it is no Ed25519 key.
    pub fn from_key(pem: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem_and_sign_algo(pem, &PKCS_ED25519).map_err(AuthorityError::Key)?;
        Ok(Self { key })
    }

    /// The secret, in PEM form.
    #[must_use]
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// The certificate by which nodes know each other, in PEM form.
    ///
    /// # Errors
    /// When the times can't stand in a certificate.
    pub fn certificate(&self, validity: Validity) -> Result<String, AuthorityError> {
        let mut params = self.params();
        params.serial_number = Some(serial(&self.key));
        set_validity(&mut params, validity)?;
        Ok(params.self_signed(&self.key).map_err(AuthorityError::Failed)?.pem())
    }

    /// A certificate for the node that is dialled by `hosts`, names or IP addresses, at least one. It serves for
    /// dialling and for being dialled.
    ///
    /// # Errors
    /// When a host is none, or the times can't stand in a certificate.
    ///
    /// # Panics
    /// Without a host.
    pub fn issue(&self, hosts: &[String], validity: Validity) -> Result<Issued, AuthorityError> {
        let first = hosts.first().expect("a node has a name");
        if let Some(bad) = hosts.iter().find(|host| server_name(host).is_none()) {
            return Err(AuthorityError::Host(bad.clone()));
        }
        let key = new_key()?;
        let mut params = CertificateParams::new(hosts).map_err(AuthorityError::Failed)?;
        params.distinguished_name = common_name(first);
        params.serial_number = Some(serial(&key));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, validity)?;
        let issuer = Issuer::new(self.params(), &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(AuthorityError::Failed)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// All of its own certificate that follows from the key.
    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        let number: String = self.key.public_key_raw().iter().take(8).map(|b| format!("{b:02x}")).collect();
        params.distinguished_name = common_name(&format!("Multibeam links {number}"));
        // Directly below it stand the nodes.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(AuthorityError::Failed)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Of the key, which is random. Its first byte is in 0x40..0x80: else DER would drop it, or put a zero before it.
fn serial(key: &KeyPair) -> SerialNumber {
    let mut bytes: Vec<u8> = key.public_key_raw().iter().copied().take(SERIAL_BYTES).collect();
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    SerialNumber::from(bytes)
}

fn set_validity(params: &mut CertificateParams, validity: Validity) -> Result<(), AuthorityError> {
    let moment = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).ok();
        seconds
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .ok_or(AuthorityError::Time(time.as_secs()))
    };
    params.not_before = moment(validity.from)?;
    params.not_after = moment(validity.until)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use std::collections::BTreeSet;
    use std::time::Duration;

    /// Certificates to compare: of lengths that differ by a byte once in 256 times, one shows but for 1 run in 3,000.
    const CERTIFICATES: usize = 2048;

    #[test]
    fn certificates_of_the_same_hosts_have_the_same_length() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let validity = Validity { from: time(1_700_000_000), until: time(1_800_000_000) };
        let authority = Authority::generate().unwrap();
        let length = |_| {
            let issued = authority.issue(&["node-a".to_owned()], validity).unwrap();
            CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap().len()
        };
        let lengths: BTreeSet<usize> = (0..CERTIFICATES).map(length).collect();
        assert_eq!(lengths.len(), 1, "{lengths:?}");
    }
}
