//! Mutual TLS 1.3 for links: who may be a node is said by one CA, and by nothing else.
//!
//! ```text
//!  ca, certificate, key ─► material ─► LinkTls ─► dial(stream, host) ─┐ a TlsStream whose two ends
//!                                         └─────► accept(stream) ─────┘ showed a certificate of the CA
//! ```
//!
//! The tasks of links call it, on any stream and under deadlines of their own. It opens no socket and reads no
//! clock but the one it was given. It carries no early data, for that could be replayed.

pub mod authority;
mod error;
mod judge;
mod material;

pub use error::{HandshakeFailure, LinkTlsError, Piece};

use judge::Judge;
use material::Material;
use multibeam_proto::MEMBERS_MAX;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, CommonState, HandshakeKind, ServerConfig};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// What links call themselves in ALPN, so that a port of something else is never taken for one of links.
pub const LINK_ALPN: &[u8] = b"mb-link/1";

/// Peers whose sessions are kept to be resumed, those least used forgotten first: every other member, by name
/// and by address. Beyond it a dial does a full handshake. Each peer takes at most 8 tickets of about 1 KiB.
const PEERS_RESUMED_MAX: usize = 2 * MEMBERS_MAX;

/// Tickets for each dial: a peer has two links each way, and a ticket serves once. More would be thrown away,
/// with fewer the second link would need a full handshake.
const TICKETS: usize = 2;

/// Where the material of links is: `[cluster.tls]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTlsFiles {
    /// Certificate of the cluster's CA; several while one takes the place of another.
    pub ca: PathBuf,
    /// This node's certificate, then those between it and the CA if any.
    pub certificate: PathBuf,
    /// The key of that certificate.
    pub key: PathBuf,
}

/// TLS as this node does it on links, in both directions. A clone shares the sessions kept for resumption.
#[derive(Clone)]
pub struct LinkTls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    judge: Arc<Judge>,
}

impl LinkTls {
    /// TLS made of three files in PEM form. `clock` tells when certificates are valid, here and in handshakes.
    ///
    /// # Errors
    /// Names the file that can't be used, why, and what to do. The node's own certificate is judged as its
    /// peers will judge it.
    pub fn load(files: &LinkTlsFiles, clock: Arc<dyn TimeProvider>) -> Result<Self, LinkTlsError> {
        let ca = material::read(Piece::Ca, &files.ca)?;
        let certificate = material::read(Piece::Certificate, &files.certificate)?;
        let key = material::read(Piece::Key, &files.key)?;
        Self::from_pem(&ca, &certificate, &key, clock).map_err(|error| error.in_file_of(files))
    }

    /// As [`LinkTls::load`], of the contents of the files.
    ///
    /// # Errors
    /// As [`LinkTls::load`], without a file's name.
    pub fn from_pem(
        ca: &[u8],
        certificate: &[u8],
        key: &[u8],
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, LinkTlsError> {
        let provider = Arc::new(ring::default_provider());
        let material = Material::from_pem(ca, certificate, key)?;
        let judge = Judge::new(Arc::clone(&provider), Arc::clone(&material.roots), Arc::clone(&clock));
        let judge = Arc::new(judge.map_err(LinkTlsError::ours)?);
        material.check(&judge)?;
        let client = client_config(&provider, &material, &clock)?;
        let server = server_config(&provider, &material, &clock, &judge)?;
        Ok(Self { connector: Arc::new(client).into(), acceptor: Arc::new(server).into(), judge })
    }

    /// Does the dialling half of a handshake. `host` is that of the HOST:PORT that was dialled, a name or an IP
    /// address, and must stand in the peer's certificate.
    ///
    /// The peer judges this node's certificate after this has returned: if it refuses it, the first read says
    /// so, and [`LinkTlsError::of_stream`] says what that means.
    ///
    /// # Errors
    /// Why there is no link, with what to do. The stream is gone.
    pub async fn dial<S>(&self, stream: S, host: &str) -> Result<TlsStream<S>, LinkTlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = server_name(host).ok_or_else(|| LinkTlsError::Host(host.to_owned()))?;
        let refused = |failure| LinkTlsError::Handshake { peer: format!("the node at {host}"), failure };
        let dialled = self.connector.connect(name.clone(), stream).await;
        let stream = dialled.map_err(|error| refused(HandshakeFailure::of(error)))?;
        let connection = stream.get_ref().1;
        let judged = self.judge.resumed_server(connection, &name);
        judged.map_err(|error| refused(HandshakeFailure::of_tls(&error)))?;
        speaks_links(connection).map_err(refused)?;
        Ok(stream.into())
    }

    /// Does the accepting half of a handshake. The peer has then shown a certificate of the CA, for whatever
    /// name.
    ///
    /// It ends once the stream has taken some 2 KiB of tickets: a dialler has to read after its handshake.
    /// The stream needs room for 6 bytes each way; with less, both ends of a handshake wait to send.
    ///
    /// # Errors
    /// As [`LinkTls::dial`].
    pub async fn accept<S>(&self, stream: S) -> Result<TlsStream<S>, LinkTlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let refused = |failure| LinkTlsError::Handshake { peer: "the node that dialled".to_owned(), failure };
        let accepted = self.acceptor.accept(stream).await;
        let stream = accepted.map_err(|error| refused(HandshakeFailure::of(error)))?;
        let connection = stream.get_ref().1;
        let judged = self.judge.resumed_client(connection);
        judged.map_err(|error| refused(HandshakeFailure::of_tls(&error)))?;
        speaks_links(connection).map_err(refused)?;
        Ok(stream.into())
    }
}

/// Whether a handshake went on from an earlier one, without certificates.
pub fn is_resumed<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

impl fmt::Debug for LinkTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key, and without sessions, which are as good as one.
        f.debug_struct("LinkTls").finish_non_exhaustive()
    }
}

/// A host as it stands before the port: an IPv6 address may have its brackets.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    material: &Material,
    clock: &Arc<dyn TimeProvider>,
) -> Result<ClientConfig, LinkTlsError> {
    let mut config = ClientConfig::builder_with_details(Arc::clone(provider), Arc::clone(clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(LinkTlsError::ours)?
        .with_root_certificates(Arc::clone(&material.roots))
        .with_client_auth_cert(material.chain.clone(), material.key.clone_key())
        .map_err(material::key_refused)?;
    config.alpn_protocols = vec![LINK_ALPN.to_vec()];
    config.resumption = Resumption::in_memory_sessions(PEERS_RESUMED_MAX);
    config.enable_early_data = false;
    Ok(config)
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    material: &Material,
    clock: &Arc<dyn TimeProvider>,
    judge: &Judge,
) -> Result<ServerConfig, LinkTlsError> {
    let mut config = ServerConfig::builder_with_details(Arc::clone(provider), Arc::clone(clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(LinkTlsError::ours)?
        .with_client_cert_verifier(judge.of_clients())
        .with_single_cert(material.chain.clone(), material.key.clone_key())
        .map_err(material::key_refused)?;
    config.alpn_protocols = vec![LINK_ALPN.to_vec()];
    // What a session is stands in its ticket, sealed with a key of this process: nothing is kept here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new().map_err(LinkTlsError::ours)?;
    config.send_tls13_tickets = TICKETS;
    config.max_early_data_size = 0;
    Ok(config)
}

/// A peer that names no protocol at all gets through a handshake, too.
fn speaks_links(connection: &CommonState) -> Result<(), HandshakeFailure> {
    if connection.alpn_protocol() == Some(LINK_ALPN) { Ok(()) } else { Err(HandshakeFailure::NoLinks) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (host, good) in [
            ("node-1", true),
            ("node-1.example.org", true),
            ("10.0.0.1", true),
            ("::1", true),
            ("[::1]", true),
            ("", false),
            ("node 1", false),
            ("node-1:7410", false),
            ("[node-1", false),
            ("a/b", false),
            ("..", false),
        ] {
            assert_eq!(server_name(host).is_some(), good, "{host:?}");
        }
        assert_eq!(server_name("[::1]"), server_name("::1"));
    }
}
