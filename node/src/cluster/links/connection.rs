//! One connection between two nodes: the task that owns its stream, after the handshake.

use super::handshake;
use super::outbox::Outbox;
use super::parts::Parts;
use crate::cluster::questions::{self, AskPromises, Promises, SignOff};
use crate::cluster::{Cluster, identity};
use crate::platform::Platform;
use multibeam_consensus::AnswerError;
use multibeam_proto::view::{Undecodable, View};
use multibeam_wire::link::{
    ClusterId, Epoch, Identity, LinkDecoder, LinkDirection, LinkFrame, LinkHello, LinkPayload, LinkPurpose,
    State,
};
use multibeam_wire::{Bye, CloseCode, Step};
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Bytes asked of one read.
const READ_BYTES: usize = 16 * 1024;

/// Questions of a peer that are being answered, or whose answers wait to be sent. The others wait in the stream.
/// Only who dialled asks, so there are never two who read nothing of each other.
pub(super) const ANSWERING_MAX: usize = 32;

/// Bytes of a view that comes in parts.
const STATE_BYTES_MAX: usize = multibeam_consensus::ASK_BYTES_MAX;

/// How long a question of a peer may take here. Nobody waits longer for the answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Time to take a BYE, and to end. Longer, and a peer that reads nothing would keep the place of its next link.
const BYE_MAX: Duration = Duration::from_millis(100);

/// What the handshake has made.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) peer: Identity,
    pub(super) purpose: LinkPurpose,
    pub(super) dialled: bool,
    /// Of a dialler: where it is reached.
    pub(super) address: String,
    pub(super) clients: String,
    pub(super) weight: u16,
    /// What came behind its first frame.
    pub(super) input: Vec<u8>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("it closed the connection")]
    Closed,
    #[error("this node closed the connection: it was silent, or there is a newer one")]
    Here,
    #[error("it ended the link: {0}")]
    Bye(String),
    #[error("it sent what no link has: {1}")]
    Broken(CloseCode, String),
    #[error("what it sends is {0}")]
    Later(Undecodable),
}

impl Ended {
    fn broken(code: CloseCode, why: impl ToString) -> Self {
        Self::Broken(code, why.to_string())
    }

    /// What the peer is told, if anything.
    fn bye(&self) -> Option<(CloseCode, String)> {
        match self {
            Self::Broken(code, why) => Some((*code, why.clone())),
            Self::Later(later) => Some((CloseCode::BadVersion, later.to_string())),
            Self::Io(_) | Self::Closed | Self::Here | Self::Bye(_) => None,
        }
    }

    /// Whether it would end like that again: a person has to mend something.
    pub(super) const fn is_lasting(&self) -> bool {
        matches!(self, Self::Broken(..) | Self::Later(_) | Self::Bye(_))
    }
}

struct Connection<P: Platform, S> {
    cluster: Cluster<P>,
    stream: S,
    established: Established,
    outbox: Rc<Outbox>,
    decoder: LinkDecoder,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    flushed: bool,
    requests: Parts,
    /// The kinds of requests whose parts are under way.
    kinds: std::collections::BTreeMap<u64, u16>,
    responses: Parts,
    state: Vec<u8>,
    answering: Rc<Cell<usize>>,
}

/// Runs a connection to its end.
pub(super) async fn run<P: Platform, S: AsyncRead + AsyncWrite + Unpin>(
    cluster: &Cluster<P>,
    stream: S,
    mut established: Established,
) -> Ended {
    let now = cluster.now();
    let Identity { store, incarnation, .. } = established.peer;
    if cluster.inner.agent.borrow().has_later_run(store, incarnation) {
        // Its handshake took longer than the peer took to start again.
        return Ended::Here;
    }
    let outbox = Outbox::new(now);
    let direction = if established.dialled { LinkDirection::ToDialler } else { LinkDirection::ToAcceptor };
    let mut decoder = LinkDecoder::new(direction);
    decoder.established();
    cluster.inner.links.borrow_mut().stands(&established, &outbox);
    if established.purpose == LinkPurpose::Control {
        let hello = LinkHello {
            identity: established.peer,
            purpose: established.purpose,
            address: &established.address,
            clients: &established.clients,
            weight: established.weight,
        };
        let hello = (!established.dialled).then_some(&hello);
        cluster.inner.agent.borrow_mut().linked(&established.peer, hello, now);
        cluster.settle();
    }
    let input = std::mem::take(&mut established.input);
    let mut connection = Connection {
        cluster: cluster.clone(),
        stream,
        established,
        outbox,
        decoder,
        input,
        output: Vec::new(),
        written: 0,
        flushed: true,
        requests: Parts::default(),
        kinds: std::collections::BTreeMap::new(),
        responses: Parts::default(),
        state: Vec::new(),
        answering: Rc::default(),
    };
    let ended = connection.exchange().await;
    let Connection { ref established, ref outbox, .. } = connection;
    let stood = cluster.inner.links.borrow_mut().ended(established, outbox);
    outbox.close();
    if stood && established.purpose == LinkPurpose::Control {
        let Identity { store, incarnation, .. } = established.peer;
        cluster.inner.agent.borrow_mut().unlinked(store, incarnation, established.dialled, cluster.now());
        cluster.settle();
    }
    if let Some((code, detail)) = ended.bye() {
        connection.say_bye(code, &detail).await;
    }
    ended
}

impl<P: Platform, S: AsyncRead + AsyncWrite + Unpin> Connection<P, S> {
    async fn exchange(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.take_frames() {
                return ended;
            }
            if self.outbox.is_closed() {
                return Ended::Here;
            }
            if self.written == self.output.len() {
                (self.written, self.flushed) = (0, self.flushed && self.output.is_empty());
                self.output.clear();
                self.outbox.fill(&mut self.output);
                if self.output.is_empty() && !self.outbox.is_empty() {
                    continue;
                }
            }
            let outbox = Rc::clone(&self.outbox);
            let moved = tokio::select! {
                biased;
                moved = self.moved() => moved,
                // Whatever was added is taken in the next round.
                () = outbox.changed() => Ok(()),
            };
            if let Err(ended) = moved {
                return ended;
            }
        }
    }

    /// Ends the link by a BYE behind what is half written. What still comes is read, for to close a socket with
    /// unread bytes would take the BYE back.
    async fn say_bye(&mut self, code: CloseCode, detail: &str) {
        let bye = LinkPayload::Bye(Bye { code: code as u16, detail: handshake::cut(detail) });
        self.output.drain(..self.written);
        self.output.extend_from_slice(&self.outbox.frame(&bye));
        let (stream, output) = (&mut self.stream, &self.output);
        let say = async {
            stream.write_all(output).await?;
            stream.shutdown().await?;
            while stream.read(&mut [0; READ_BYTES]).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        tokio::select! {
            biased;
            // It may be gone already.
            _ = say => {}
            () = self.cluster.inner.platform.sleep(BYE_MAX) => {}
        }
    }

    /// Waits until bytes came or went; both in one go, so that neither side can hold up the other.
    async fn moved(&mut self) -> Result<(), Ended> {
        let reads = !self.is_busy();
        std::future::poll_fn(|cx| {
            let mut moved = false;
            if self.written < self.output.len() {
                match Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Ended::Closed)),
                    Poll::Ready(Ok(bytes)) => {
                        self.written += bytes;
                        moved = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Pending => {}
                }
            } else if !self.flushed {
                match Pin::new(&mut self.stream).poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.flushed = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Pending => {}
                }
            }
            if reads {
                let mut bytes = [0; READ_BYTES];
                let mut room = ReadBuf::new(&mut bytes);
                match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
                    Poll::Ready(Ok(())) if room.filled().is_empty() => {
                        return Poll::Ready(Err(Ended::Closed));
                    }
                    Poll::Ready(Ok(())) => {
                        self.input.extend_from_slice(room.filled());
                        moved = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Pending => {}
                }
            }
            if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    fn is_busy(&self) -> bool {
        self.answering.get() + self.outbox.answers() >= ANSWERING_MAX
    }

    fn take_frames(&mut self) -> Result<(), Ended> {
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        let result = loop {
            if self.is_busy() {
                break Ok(());
            }
            match self.decoder.step(&input[at..]) {
                Err(rejection) => break Err(Ended::broken(rejection.close_code(), rejection)),
                Ok(Step::Partial(_)) => break Ok(()),
                Ok(Step::Frame(frame, taken)) => {
                    if let Err(ended) = self.take(&frame) {
                        break Err(ended);
                    }
                    at += taken;
                }
            }
        };
        self.input = input;
        self.input.drain(..at);
        result
    }

    fn take(&mut self, frame: &LinkFrame<'_>) -> Result<(), Ended> {
        let (cluster, peer) = (self.cluster.clone(), self.established.peer.store);
        let now = cluster.now();
        self.outbox.heard.set(now);
        let ack = frame.header.ack_seq;
        if (self.outbox.sent().0.wrapping_sub(ack.0)) as i32 >= 0 {
            self.outbox.acked(ack);
        } else {
            return Err(Ended::broken(CloseCode::AckInvalid, "an acknowledgement of what was not sent"));
        }
        let control = self.established.purpose == LinkPurpose::Control;
        if control {
            cluster.inner.agent.borrow_mut().heard(peer, now);
        }
        match &frame.payload {
            LinkPayload::Bye(bye) => return Err(Ended::Bye(bye.detail.to_owned())),
            LinkPayload::Hello(_) | LinkPayload::Welcome(_) => {
                return Err(Ended::broken(CloseCode::HelloTwice, "a second handshake"));
            }
            LinkPayload::Heartbeat(heartbeat) if control && !self.established.dialled => {
                let lease = cluster.inner.agent.borrow_mut().heartbeat(peer, heartbeat, now);
                self.outbox.urgent(self.outbox.frame(&LinkPayload::Lease(lease)));
                cluster.settle();
            }
            // A data connection has no leases: a heartbeat comes back.
            LinkPayload::Heartbeat(heartbeat) if !control && !self.established.dialled => {
                self.outbox.urgent(self.outbox.frame(&LinkPayload::Heartbeat(*heartbeat)));
            }
            LinkPayload::Heartbeat(_) if !control => {}
            LinkPayload::Heartbeat(_) => {
                return Err(Ended::broken(CloseCode::WrongDirection, "a heartbeat where an answer belongs"));
            }
            LinkPayload::Lease(lease) if control && self.established.dialled => {
                cluster.inner.agent.borrow_mut().answered(peer, lease, now);
                cluster.settle();
            }
            // Only who was dialled sends it: a node takes it from those it has chosen to ask.
            LinkPayload::State(state) if control && self.established.dialled => {
                self.take_state(frame.header.seq, state)?;
            }
            LinkPayload::Request(request) if control => {
                if self.kinds.len() > ANSWERING_MAX * 2 {
                    return Err(Ended::broken(CloseCode::WindowExceeded, "too many questions at once"));
                }
                self.kinds.insert(request.number, request.kind);
                let whole = self.requests.add(request.number, &request.part);
                if let Some(bytes) = whole
                    .map_err(|_| Ended::broken(CloseCode::WindowExceeded, "questions beyond all bounds"))?
                {
                    let kind = self.kinds.remove(&request.number).unwrap_or(request.kind);
                    self.answer(request.number, kind, bytes);
                }
            }
            LinkPayload::Response(response) if control => {
                let whole = self.responses.add(response.number, &response.part);
                if let Some(bytes) = whole
                    .map_err(|_| Ended::broken(CloseCode::WindowExceeded, "answers beyond all bounds"))?
                {
                    self.outbox.answered(response.number, bytes);
                }
            }
            LinkPayload::Lease(_)
            | LinkPayload::State(_)
            | LinkPayload::Request(_)
            | LinkPayload::Response(_) => {
                return Err(Ended::broken(
                    CloseCode::WrongDirection,
                    "a frame of the other kind or side of a connection",
                ));
            }
        }
        Ok(())
    }

    fn take_state(&mut self, seq: multibeam_wire::Seq, state: &State<'_>) -> Result<(), Ended> {
        if !self.outbox.sequenced(seq) {
            return Err(Ended::broken(CloseCode::SeqBroken, "a part of the state out of order"));
        }
        if !state.snapshot || self.state.len() + state.part.bytes.len() > STATE_BYTES_MAX {
            return Err(Ended::broken(CloseCode::BadPayload, "a state that can't be"));
        }
        self.state.extend_from_slice(state.part.bytes);
        // The next part comes when this one is acknowledged; the last one needs no haste.
        if state.part.more {
            let epoch = Epoch(self.cluster.view().epoch());
            let beat = multibeam_wire::link::LinkHeartbeat { number: 0, epoch };
            self.outbox.urgent(self.outbox.frame(&LinkPayload::Heartbeat(beat)));
        }
        if !state.part.more {
            let bytes = std::mem::take(&mut self.state);
            let view = View::decode(&bytes).map_err(|error| match error {
                Undecodable::Version(_) => Ended::Later(error),
                Undecodable::Damaged => Ended::broken(CloseCode::BadPayload, error),
            })?;
            if view.epoch() != state.to.0 {
                return Err(Ended::broken(CloseCode::BadPayload, "a state of another epoch than it says"));
            }
            if self.knows_the_view() {
                self.cluster.inner.agent.borrow_mut().applied(Arc::new(view), self.cluster.now());
                self.cluster.settle();
            }
        }
        Ok(())
    }

    /// Whether the peer's view is this node's: nothing was agreed on without a cluster, and who leads the consensus
    /// has all there is.
    fn knows_the_view(&self) -> bool {
        let agent = self.cluster.inner.agent.borrow();
        let cluster = agent.own().cluster;
        cluster != ClusterId::default() && self.established.peer.cluster == cluster && !agent.facts().leads
    }

    /// Answers beside what else the connection does.
    fn answer(&self, number: u64, kind: u16, bytes: Vec<u8>) {
        let (cluster, outbox) = (self.cluster.clone(), Rc::clone(&self.outbox));
        let (answering, peer) = (Rc::clone(&self.answering), self.established.peer);
        answering.set(answering.get() + 1);
        self.cluster.inner.platform.spawn(async move {
            let answer = async {
                tokio::select! {
                    biased;
                    answer = answer_of(&cluster, &peer, kind, &bytes) => answer,
                    () = cluster.inner.platform.sleep(ANSWER_MAX) => Answer::None,
                }
            };
            match answer.await {
                Answer::Bytes(bytes) => {
                    outbox.answer(number, bytes);
                }
                Answer::None => {}
                // Nothing good comes from there.
                Answer::Close => outbox.close(),
            }
            answering.set(answering.get() - 1);
            outbox.wake();
        });
    }
}

enum Answer {
    Bytes(Vec<u8>),
    /// The asker gives up by itself.
    None,
    Close,
}

async fn answer_of<P: Platform>(cluster: &Cluster<P>, peer: &Identity, kind: u16, bytes: &[u8]) -> Answer {
    // A node of no cluster has no opinion yet.
    if cluster.inner.agent.borrow().own().cluster == ClusterId::default() {
        return Answer::None;
    }
    match kind {
        questions::PROMISES => match questions::decode(bytes) {
            Some(asked) => promise(cluster, &asked),
            None => Answer::Close,
        },
        questions::SIGN_OFF => match questions::decode::<SignOff>(bytes) {
            Some(SignOff { node, incarnation }) if (node, incarnation) == (peer.node, peer.incarnation) => {
                let leads = cluster.inner.agent.borrow().facts().leads;
                cluster.inner.agent.borrow_mut().peer_signed_off(node, incarnation, cluster.now());
                cluster.settle();
                Answer::Bytes(vec![u8::from(leads)])
            }
            Some(_) | None => Answer::Close,
        },
        _ => match cluster.inner.consensus.answer(kind, bytes).await {
            Ok(bytes) => Answer::Bytes(bytes),
            Err(AnswerError::Malformed(_)) => Answer::Close,
            Err(AnswerError::UnknownKind(_) | AnswerError::Stopped) => Answer::None,
        },
    }
}

fn promise<P: Platform>(cluster: &Cluster<P>, asked: &AskPromises) -> Answer {
    match cluster.promise(&asked.wanted) {
        Some(promises) => Answer::Bytes(questions::encode(&promises)),
        None => Answer::None,
    }
}

impl<P: Platform> Cluster<P> {
    /// Promises what a steward asks for, durably. `None`: the store failed, and the node ends.
    pub(in crate::cluster) fn promise(&self, wanted: &[multibeam_proto::cluster::Wish]) -> Option<Promises> {
        let mut agent = self.inner.agent.borrow_mut();
        let before = agent.promises();
        let made = agent.promise(wanted, self.now());
        let promises = agent.promises();
        if promises != before
            && let Err(error) = self.inner.store.put_facts(&[(identity::PROMISES, Some(&promises))])
        {
            drop(agent);
            self.fail(error.to_string());
            return None;
        }
        Some(Promises { made, undecided: agent.undecided() })
    }
}
