//! Whether a certificate is of the cluster's CA, valid at this moment and for this use.
//!
//! In a full handshake rustls asks the same; a peer that resumes a session it does not ask, so whoever has a
//! link could go on for ever with a certificate that has ended. [`Judge`] is asked then, and about the node's own.

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CommonState, Error, HandshakeKind, RootCertStore};
use std::sync::Arc;

pub(super) struct Judge {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    clock: Arc<dyn TimeProvider>,
}

impl Judge {
    pub(super) fn new(
        provider: Arc<CryptoProvider>,
        roots: Arc<RootCertStore>,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        Ok(Self { provider, roots, clients, clock })
    }

    /// The same judgement within a full handshake.
    pub(super) fn of_clients(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.clients)
    }

    /// Of one that is dialled; for whatever host.
    pub(super) fn server(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let (own, between) = split(chain)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let own = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&own, &self.roots, between, self.now()?, algorithms)
    }

    /// Of one that dials.
    pub(super) fn client(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let (own, between) = split(chain)?;
        self.clients.verify_client_cert(own, between, self.now()?).map(drop)
    }

    /// Of the peer that was dialled as `name`, if rustls has not asked.
    pub(super) fn resumed_server(
        &self,
        connection: &CommonState,
        name: &ServerName<'_>,
    ) -> Result<(), Error> {
        if connection.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        let chain = connection.peer_certificates().unwrap_or_default();
        self.server(chain)?;
        verify_server_name(&ParsedCertificate::try_from(split(chain)?.0)?, name)
    }

    /// Of the peer that dialled, if rustls has not asked.
    pub(super) fn resumed_client(&self, connection: &CommonState) -> Result<(), Error> {
        if connection.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        self.client(connection.peer_certificates().unwrap_or_default())
    }

    fn now(&self) -> Result<UnixTime, Error> {
        self.clock.current_time().ok_or(Error::FailedToGetCurrentTime)
    }
}

/// The certificate of the node itself, and those between it and the CA.
fn split<'a, 'b>(
    chain: &'a [CertificateDer<'b>],
) -> Result<(&'a CertificateDer<'b>, &'a [CertificateDer<'b>]), Error> {
    chain.split_first().ok_or(Error::NoCertificatesPresented)
}
