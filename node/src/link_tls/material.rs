//! The three pieces that a node has for TLS, read from PEM and judged before anybody is dialled: what peers
//! would refuse is refused here, where the operator is looking.

use super::judge::Judge;
use super::{HandshakeFailure, LinkTlsError, Piece};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, RootCertStore};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Bytes of one file: some 50 certificates. It keeps a path that names something else (a log, a device) from
/// filling the memory. Doubled, no harm is done.
const PEM_BYTES_MAX: u64 = 64 * 1024;

/// The content of a file.
pub(super) fn read(piece: Piece, path: &Path) -> Result<Vec<u8>, LinkTlsError> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut content));
    let read = read.and_then(|bytes| match bytes as u64 {
        0..=PEM_BYTES_MAX => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {PEM_BYTES_MAX} bytes"))),
    });
    read.map_err(|error| LinkTlsError::Unreadable { piece, path: path.to_owned(), error })?;
    Ok(content)
}

pub(super) struct Material {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Material {
    pub(super) fn from_pem(ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, LinkTlsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(Piece::Ca, ca)? {
            let why = "holds a certificate that can't be read; copy the CA's certificate there again";
            roots.add(root).map_err(|_| unusable(Piece::Ca, why))?;
        }
        let chain = certificates(Piece::Certificate, certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            let why = "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----); is it another file?";
            unusable(Piece::Key, why)
        })?;
        Ok(Self { roots: Arc::new(roots), chain, key })
    }

    /// Judges the node's certificate as those do whom it dials, and as those that dial it.
    pub(super) fn check(&self, judge: &Judge) -> Result<(), LinkTlsError> {
        let judged = judge.server(&self.chain).and_then(|()| judge.client(&self.chain));
        judged.map_err(|error| {
            let failure = HandshakeFailure::of_tls(&error);
            let why = if let HandshakeFailure::OtherCa = failure {
                "is not of the CA that [cluster.tls] ca names, so peers would refuse it; name files of one cluster"
                    .to_owned()
            } else if let HandshakeFailure::Expired(dates) = failure {
                format!("{dates}; make a new one, or set this machine's clock right")
            } else if let HandshakeFailure::NotYetValid(dates) = failure {
                format!("{dates}; set this machine's clock right, or make a new one")
            } else {
                format!(
                    "can't be used for links ({error}); it needs the extended key usages serverAuth and clientAuth"
                )
            };
            unusable(Piece::Certificate, &why)
        })
    }
}

const NO_CERTIFICATE: &str =
    "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----); is it another file?";

fn certificates(piece: Piece, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, LinkTlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(piece, NO_CERTIFICATE)),
        Err(_) => Err(unusable(piece, "is damaged: its PEM form can't be read; copy it there again")),
    }
}

/// What rustls says to a certificate and a key that [`Material::check`] has let through.
pub(super) fn key_refused(error: Error) -> LinkTlsError {
    if matches!(error, Error::InconsistentKeys(_)) {
        let why =
            "is not the key of this node's certificate; [cluster.tls] certificate and key must be a pair";
        return unusable(Piece::Key, why);
    }
    unusable(Piece::Key, &format!("can't be used ({error}); make an Ed25519 or ECDSA key in PKCS#8 form"))
}

fn unusable(piece: Piece, why: &str) -> LinkTlsError {
    LinkTlsError::Unusable { piece, path: None, why: why.to_owned() }
}
