//! LINK_HELLO and LINK_WELCOME: who is at the other end, and whether to talk to them.

use super::ACCEPTED_MAX;
use super::connection::Established;
use crate::cluster::{Cluster, count, identity};
use crate::link_tls::LinkTlsError;
use crate::platform::Platform;
use multibeam_proto::cluster::{Greeting, RefusedPeer};
use multibeam_wire::link::{
    ClusterId, Identity, LinkDecoder, LinkDirection, LinkHello, LinkPayload, LinkPurpose, StoreId,
};
use multibeam_wire::{Bye, CloseCode, HEADER_BYTES, Seq, Step};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why there is no link. Each is a part of a sentence that begins with the peer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it closes the connection without a word: is that the address for links of a node?")]
    Ended,
    #[error("what it says is no link of a node: is that the address for links of a node?")]
    NoLink,
    #[error("it refuses this node: {0}")]
    Refused(String),
    #[error("{0}")]
    Tls(#[from] LinkTlsError),
    #[error("{0}")]
    Unwanted(RefusedPeer),
    #[error("this node has too many links")]
    Full,
    #[error("the store of this node can't be written: {0}")]
    Store(String),
}

/// What an acceptor comes to, and who it was, as far as that was said.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) peer: Option<StoreId>,
    pub(super) error: HandshakeError,
}

impl<E: Into<HandshakeError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { peer: None, error: error.into() }
    }
}

impl HandshakeError {
    pub(super) const fn is_itself(&self) -> bool {
        matches!(self, Self::Unwanted(RefusedPeer::Itself))
    }

    /// Whether it is about who the peer is, and not about the connection: a person has to mend something.
    pub(super) const fn is_lasting(&self) -> bool {
        match self {
            Self::Tls(error) => error.is_lasting(),
            Self::NoLink | Self::Refused(_) | Self::Unwanted(_) | Self::Full | Self::Store(_) => true,
            Self::Io(_) | Self::Ended => false,
        }
    }

    /// As it is, or what it says about TLS to whoever dialled `peer`.
    pub(super) fn of_tls(self, peer: &str) -> Self {
        let tls = if let Self::Io(error) = &self { LinkTlsError::of_stream(peer, error) } else { None };
        tls.map_or(self, Self::Tls)
    }
}

/// What the peer said, in its own memory.
struct Said {
    identity: Identity,
    hello: Option<(LinkPurpose, String, String, u16)>,
}

/// The dialler's side.
pub(super) async fn dial<P: Platform, S: AsyncRead + AsyncWrite + Unpin>(
    cluster: &Cluster<P>,
    stream: &mut S,
    purpose: LinkPurpose,
    address: &str,
) -> Result<Established, HandshakeError> {
    let (identity, own) = {
        let agent = cluster.inner.agent.borrow();
        (agent.identity(), agent.own().clone())
    };
    let hello = LinkHello {
        identity,
        purpose,
        address: &own.address,
        clients: &own.clients,
        weight: own.weight.into(),
    };
    send(stream, &LinkPayload::Hello(hello)).await?;
    let mut input = Vec::new();
    let said = read(stream, LinkDirection::ToDialler, &mut input).await?;
    greet(cluster, &said.identity, cluster.inner.settings.names(address))?;
    Ok(Established {
        peer: said.identity,
        purpose,
        dialled: true,
        address: String::new(),
        clients: String::new(),
        weight: 1,
        input,
    })
}

/// The acceptor's side. A peer that is refused is told why.
pub(super) async fn accept<P: Platform, S: AsyncRead + AsyncWrite + Unpin>(
    cluster: &Cluster<P>,
    stream: &mut S,
) -> Result<Established, Failed> {
    let mut input = Vec::new();
    let said = read(stream, LinkDirection::ToAcceptor, &mut input).await?;
    let Some((purpose, address, clients, weight)) = said.hello else {
        return Err(HandshakeError::NoLink.into());
    };
    let invited = cluster.inner.settings.names(&address);
    let full = cluster.inner.links.borrow().accepted >= ACCEPTED_MAX;
    let greeted = if full { Err(HandshakeError::Full) } else { greet(cluster, &said.identity, invited) };
    if let Err(error) = greeted {
        if error.is_itself() {
            // By another name than it knows of: it finds out from who answers.
            let identity = cluster.inner.agent.borrow().identity();
            send(stream, &LinkPayload::Welcome(identity)).await?;
            return Err(error.into());
        }
        let detail = error.to_string();
        let bye = Bye { code: code_of(&error) as u16, detail: cut(&detail) };
        // It may be gone already.
        let _ = send(stream, &LinkPayload::Bye(bye)).await;
        let _ = stream.shutdown().await;
        return Err(Failed { peer: Some(said.identity.store), error });
    }
    let identity = cluster.inner.agent.borrow().identity();
    send(stream, &LinkPayload::Welcome(identity)).await?;
    if cluster.own().cluster != identity.cluster {
        // It has joined one meanwhile: the dialler is to know.
        return Err(HandshakeError::Ended.into());
    }
    Ok(Established { peer: said.identity, purpose, dialled: false, address, clients, weight, input })
}

/// Whether the peer may be talked to; becomes one of its cluster, if this node is of none.
fn greet<P: Platform>(cluster: &Cluster<P>, peer: &Identity, invited: bool) -> Result<(), HandshakeError> {
    let greeting = cluster.inner.agent.borrow().greet(peer, invited);
    match greeting {
        Greeting::Accepted => {}
        Greeting::Adopt(adopted) => adopt(cluster, adopted)?,
        Greeting::Refused(refused) => {
            count(&cluster.inner.numbers.refused);
            return Err(HandshakeError::Unwanted(refused));
        }
    }
    if cluster.inner.agent.borrow().has_room(peer.store) { Ok(()) } else { Err(HandshakeError::Full) }
}

fn adopt<P: Platform>(cluster: &Cluster<P>, adopted: ClusterId) -> Result<(), HandshakeError> {
    identity::belong(&cluster.inner.store, adopted, None)
        .map_err(|error| HandshakeError::Store(error.to_string()))?;
    cluster.adopted(adopted);
    Ok(())
}

fn code_of(error: &HandshakeError) -> CloseCode {
    match error {
        HandshakeError::Unwanted(RefusedPeer::StaleIncarnation(_)) => CloseCode::StaleIncarnation,
        HandshakeError::Full => CloseCode::ConnectionsMax,
        HandshakeError::Unwanted(
            RefusedPeer::OtherCluster { .. }
            | RefusedPeer::Itself
            | RefusedPeer::Uninvited
            | RefusedPeer::SameName(_)
            | RefusedPeer::SameStore,
        )
        | HandshakeError::Io(_)
        | HandshakeError::Tls(_)
        | HandshakeError::Ended
        | HandshakeError::NoLink
        | HandshakeError::Refused(_)
        | HandshakeError::Store(_) => CloseCode::WrongCluster,
    }
}

/// As much as fits a BYE.
pub(super) fn cut(detail: &str) -> &str {
    let mut end = detail.len().min(multibeam_wire::limits::DETAIL_BYTES_MAX);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    &detail[..end]
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, payload: &LinkPayload<'_>) -> io::Result<()> {
    let mut frame = Vec::new();
    payload.encode(Seq(0), Seq(0), super::outbox::WINDOW, &mut frame);
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// Reads the first frame; what comes behind it stays in `input`.
async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    direction: LinkDirection,
    input: &mut Vec<u8>,
) -> Result<Said, HandshakeError> {
    let decoder = LinkDecoder::new(direction);
    loop {
        match decoder.step(input).map_err(|_| HandshakeError::NoLink)? {
            Step::Frame(frame, taken) => {
                let said = match frame.payload {
                    LinkPayload::Welcome(identity) => Said { identity, hello: None },
                    LinkPayload::Hello(LinkHello { identity, purpose, address, clients, weight }) => {
                        let hello = Some((purpose, address.to_owned(), clients.to_owned(), weight));
                        Said { identity, hello }
                    }
                    LinkPayload::Bye(bye) => return Err(HandshakeError::Refused(bye.detail.to_owned())),
                    LinkPayload::Heartbeat(_)
                    | LinkPayload::Lease(_)
                    | LinkPayload::Request(_)
                    | LinkPayload::Response(_)
                    | LinkPayload::State(_) => return Err(HandshakeError::NoLink),
                };
                input.drain(..taken);
                return Ok(said);
            }
            Step::Partial(_) => {
                let mut chunk = [0; HEADER_BYTES + multibeam_wire::limits::LINK_HELLO_BYTES_MAX];
                let read = stream.read(&mut chunk).await?;
                if read == 0 {
                    return Err(HandshakeError::Ended);
                }
                input.extend_from_slice(&chunk[..read]);
            }
        }
    }
}
