//! The facade: one node's consensus, in the words of the rest of the node.

mod health;

use crate::error::{AnswerError, ConsensusError, ProposeError};
use crate::machine::{Machine, Published};
use crate::network::{Ask, NODES_MAX, NoQuestion, Peers, Question, encode_answer};
use crate::runtime::with_seed;
use crate::settings::Settings;
use crate::status::{Role, Status};
use crate::store::{Log, Store};
use crate::types::{Applied, Proposal, Raft, Types};
use multibeam_proto::cluster::PROMOTE_LAG_MAX;
use multibeam_proto::view::{BATCH_BYTES_MAX, Batch, Outcome, View};
use multibeam_wire::limits::VOTERS_MAX;
use multibeam_wire::link::{StoreId, Voters};
use openraft::error::{ChangeMembershipError, ClientWriteError, Fatal, InitializeError, RaftError};
use openraft::metrics::RaftServerMetrics;
use openraft::raft::ClientWriteResponse;
use openraft::{ChangeMembers, EmptyNode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::time::timeout;

/// Proposals of one node that wait at the same time. They come from one task that debounces; this is for a mistake.
pub const PROPOSALS_MAX: usize = 64;

/// Entries in a leader's log that no majority has, behind which it takes no more: a leader that is cut off, and
/// that is asked again and again, would fill its disk. With the largest batches they are 20 MB.
pub const UNDECIDED_MAX: u64 = 256;

/// How long an orderly end may take. A node ends without it then: nothing is lost by that.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// What a node begins with.
#[derive(Debug)]
pub struct Setup {
    /// Its store; no other consensus uses it.
    pub store: Store,
    /// That store's id, and its vote's: never reused with another store.
    pub id: StoreId,
    /// Times and sizes.
    pub settings: Settings,
    /// What its election timeout is drawn from.
    pub seed: u64,
    /// Where its questions to other nodes go. Without room the questions wait, as long as any may take.
    pub asks: mpsc::Sender<Ask>,
}

/// One node's consensus; see [the crate](crate). A clone is the same one.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    id: StoreId,
    store: Store,
    published: Arc<Published>,
    /// For the one who waits for changes; `None` once there is nobody left to report any.
    servers: Mutex<Option<watch::Receiver<RaftServerMetrics<u64, EmptyNode>>>>,
    proposals: Semaphore,
    stopping: OnceLock<()>,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus").field("id", &self.inner.id).field("status", &self.status()).finish()
    }
}

impl Consensus {
    /// Goes on where the store left off; a new store waits to be initialized or added. Its view is that of
    /// the newest entry it knew to be agreed on, which may be an old one.
    ///
    /// # Errors
    /// [`ConsensusError::Settings`], or [`ConsensusError::Stopped`] with what is wrong with the store.
    pub async fn start(setup: Setup) -> Result<Self, ConsensusError> {
        let Setup { store, id, settings, seed, asks } = setup;
        settings.check()?;
        let published = Arc::new(Published::default());
        let stopped = |fatal: Fatal<u64>| ConsensusError::Stopped(health::sentence(&store, &fatal));
        let machine = Machine::load(store.clone(), Arc::clone(&published))
            .map_err(|error| ConsensusError::Stopped(error.to_string()))?;
        let config = Arc::new(settings.config());
        let raft = Raft::new(id.0, config, Peers(asks), Log(store.clone()), machine);
        // Nodes with one seed must not draw the same.
        let raft = with_seed(seed ^ id.0.rotate_left(32), raft).await.map_err(stopped)?;
        // Its first report stands once it has answered.
        raft.is_initialized().await.map_err(stopped)?;
        let servers = Mutex::new(Some(raft.server_metrics()));
        let (proposals, stopping) = (Semaphore::new(PROPOSALS_MAX), OnceLock::new());
        Ok(Self { inner: Arc::new(Inner { raft, id, store, published, servers, proposals, stopping }) })
    }

    /// Answers another node's [`Ask`].
    ///
    /// # Errors
    /// See [`AnswerError`]. Whatever the bytes are, nothing worse happens.
    pub async fn answer(&self, kind: u16, bytes: &[u8]) -> Result<Vec<u8>, AnswerError> {
        let question = Question::decode(kind, bytes).map_err(|no_question| match no_question {
            NoQuestion::UnknownKind => AnswerError::UnknownKind(kind),
            NoQuestion::Malformed => AnswerError::Malformed(kind),
        })?;
        let raft = &self.inner.raft;
        match question {
            Question::Append(request) => {
                let answer = raft.append_entries(request).await.map_err(|_| AnswerError::Stopped)?;
                Ok(encode_answer(&answer))
            }
            Question::Vote(request) => {
                let answer = raft.vote(request).await.map_err(|_| AnswerError::Stopped)?;
                Ok(encode_answer(&answer))
            }
            Question::Snapshot(vote, kept) => {
                let answer = raft.install_full_snapshot(vote, kept.snapshot()).await;
                Ok(encode_answer(&answer.map_err(|_| AnswerError::Stopped)?))
            }
        }
    }

    /// Begins a cluster of these voters. Each of them may do so, or one alone: with the same set it is one
    /// cluster. Done already, by this node or another, it changes nothing.
    ///
    /// # Errors
    /// [`ConsensusError::OtherVoters`], if the node belongs to a cluster of others; see [`ConsensusError`].
    pub async fn initialize(&self, voters: &[StoreId]) -> Result<(), ConsensusError> {
        let set: BTreeSet<u64> = voters.iter().map(|store| store.0).collect();
        if set.len() > VOTERS_MAX || !set.contains(&self.inner.id.0) {
            return Err(ConsensusError::BadVoters(self.inner.id));
        }
        let nodes: BTreeMap<u64, EmptyNode> = set.iter().map(|id| (*id, EmptyNode::new())).collect();
        match self.inner.raft.initialize(nodes).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => self.belongs_to(&set).await,
            Err(RaftError::APIError(InitializeError::NotInMembers(_))) => {
                Err(ConsensusError::BadVoters(self.inner.id))
            }
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(&fatal)),
        }
    }

    /// Whether the cluster that this node belongs to has these voters, or is not known yet: somebody has asked
    /// for its vote, and no entry has come.
    async fn belongs_to(&self, set: &BTreeSet<u64>) -> Result<(), ConsensusError> {
        let sets = |state: &openraft::RaftState<u64, EmptyNode, _>| {
            state.membership_state.effective().membership().get_joint_config().clone()
        };
        let found = self.inner.raft.with_raft_state(sets).await.map_err(|fatal| self.stopped(&fatal))?;
        if found.is_empty() || found.contains(set) {
            return Ok(());
        }
        let names = found.iter().flatten().map(|id| format!("{id:016x}")).collect::<Vec<_>>();
        Err(ConsensusError::OtherVoters(names.join(", ")))
    }

    /// Whether this node belongs to a cluster, or has voted for one that is beginning. `false` also if it has
    /// ended.
    pub async fn is_initialized(&self) -> bool {
        self.inner.raft.is_initialized().await.unwrap_or(false)
    }

    /// Has a batch agreed on; the outcome is that of the view at the batch's place in the log.
    ///
    /// # Errors
    /// See [`ProposeError`]; a batch of which the outcome is unknown may be proposed again as it is.
    pub async fn propose(&self, batch: Batch, within: Duration) -> Result<Outcome, ProposeError> {
        let proposal = Proposal::new(&batch);
        if proposal.batch.len() > BATCH_BYTES_MAX {
            return Err(ProposeError::TooLarge(proposal.batch.len()));
        }
        let _permit = self.inner.proposals.try_acquire().map_err(|_| ProposeError::Overloaded)?;
        let Status { role, last_log, committed, .. } = self.status();
        let decided = committed.map_or(0, |index| index + 1);
        if role == Role::Leader && last_log.is_some_and(|last| last + 1 >= decided + UNDECIDED_MAX) {
            return Err(ProposeError::Overloaded);
        }
        let logged = Arc::clone(&proposal.logged);
        let Ok(written) = timeout(within, self.inner.raft.client_write(proposal)).await else {
            return Err(ProposeError::Unknown);
        };
        let Applied(outcome) = written.map_err(|error| refusal(error, logged.get().is_some()))?.data;
        outcome.ok_or(ProposeError::Unknown)
    }

    /// Lets a node follow the log without a vote. Does not wait until it has all of it: see
    /// [`Status::replication`]. Who is there already stays as it is.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn add_learner(&self, store: StoreId, within: Duration) -> Result<(), ProposeError> {
        let nodes = self.status().replication;
        if nodes.len() >= NODES_MAX && !nodes.contains_key(&store) {
            return Err(ProposeError::TooManyNodes);
        }
        let raft = self.inner.raft.clone();
        self.change(within, async move { raft.add_learner(store.0, EmptyNode::new(), false).await }).await
    }

    /// Lets nodes follow the log no longer; they are not told. Who is not there, or votes, is left as it is.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn remove_learners(&self, stores: &[StoreId], within: Duration) -> Result<(), ProposeError> {
        let Voters { present, before, .. } = self.status().voters;
        let learns = |store: &&StoreId| !present.contains(**store) && !before.contains(**store);
        let set: BTreeSet<u64> = stores.iter().filter(learns).map(|store| store.0).collect();
        let (raft, remove) = (self.inner.raft.clone(), ChangeMembers::RemoveNodes(set));
        self.change(within, async move { raft.change_membership(remove, true).await }).await
    }

    /// Makes these the voters; who is not among them is forgotten, and is not told. A new one must be a learner
    /// that has all but [`PROMOTE_LAG_MAX`] entries.
    ///
    /// It takes two entries. If a leader ends between them both sets decide together, as [`Status::voters`]
    /// shows, until this is called again with either set.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn change_voters(&self, voters: &[StoreId], within: Duration) -> Result<(), ProposeError> {
        let set: BTreeSet<u64> = voters.iter().map(|store| store.0).collect();
        if set.is_empty() || set.len() > VOTERS_MAX {
            return Err(ProposeError::BadVoters);
        }
        let status = self.status();
        if status.role == Role::Leader {
            voters.iter().try_for_each(|store| may_vote(&status, *store))?;
        }
        let (raft, replace) = (self.inner.raft.clone(), ChangeMembers::ReplaceAllVoters(set));
        self.change(within, async move { raft.change_membership(replace, false).await }).await
    }

    /// Waits for a change of voters. It goes on when nobody waits any more: half of one would stay for ever.
    async fn change(
        &self,
        within: Duration,
        work: impl Future<Output = Written> + Send + 'static,
    ) -> Result<(), ProposeError> {
        let Status { role, leader, .. } = self.status();
        if role != Role::Leader {
            return Err(if role == Role::Stopped {
                ProposeError::Stopped
            } else {
                ProposeError::NotLeader(leader)
            });
        }
        match timeout(within, tokio::spawn(work)).await {
            // A leader that was deposed can't tell whether the entry got into its log before.
            Ok(Ok(written)) => written.map(|_written| ()).map_err(|error| refusal(error, true)),
            Ok(Err(_panicked)) => Err(ProposeError::Stopped),
            Err(_elapsed) => Err(ProposeError::Unknown),
        }
    }

    /// The newest view that this node has applied.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.inner.published.view()
    }

    /// What this node knows at the moment; costs no waiting.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::of(&self.inner.raft, self.inner.store.committed())
    }

    /// Waits until the view, the role, the term, the leader or the voters are others than when this last
    /// returned. For one waiter; dropped and called again, it misses nothing.
    pub async fn changed(&self) {
        let mut servers = self.inner.servers.lock().await;
        let viewed = self.inner.published.changed.notified();
        let Some(receiver) = servers.as_mut() else { return viewed.await };
        tokio::select! {
            biased;
            changed = receiver.changed() => if changed.is_err() { *servers = None },
            () = viewed => {}
        }
    }

    /// Whether this node may ask for votes. A node that reaches no majority should not: it would depose the
    /// leader when it comes back. Must be allowed whenever it reaches one, or nobody is ever elected.
    pub fn allow_election(&self, allowed: bool) {
        self.inner.raft.runtime_config().elect(allowed);
    }

    /// Ends tidily, within 2 s. Nothing is lost without it.
    pub async fn shutdown(&self) {
        let _ = self.inner.stopping.set(());
        let _ = timeout(SHUTDOWN_MAX, self.inner.raft.shutdown()).await;
    }

    fn stopped(&self, fatal: &Fatal<u64>) -> ConsensusError {
        ConsensusError::Stopped(health::sentence(&self.inner.store, fatal))
    }
}

/// Whether it votes already, or is a learner that has nearly all.
fn may_vote(status: &Status, store: StoreId) -> Result<(), ProposeError> {
    let Voters { present, before, .. } = status.voters;
    if present.contains(store) || before.contains(store) {
        return Ok(());
    }
    let matched = status.replication.get(&store).ok_or(ProposeError::NotLearner(store))?;
    let near = |matched: u64| status.last_log.is_some_and(|last| matched + PROMOTE_LAG_MAX >= last);
    if matched.is_some_and(near) { Ok(()) } else { Err(ProposeError::NotCaughtUp(store)) }
}

type Written = Result<ClientWriteResponse<Types>, RaftError<u64, ClientWriteError<u64, EmptyNode>>>;

/// What an error means for an entry that may be in this node's log (`logged`), and then in those of others.
fn refusal(error: RaftError<u64, ClientWriteError<u64, EmptyNode>>, logged: bool) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) if logged => ProposeError::Unknown,
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader(forward.leader_id.map(StoreId))
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::InProgress(_) => ProposeError::ChangeUnderWay,
            ChangeMembershipError::EmptyMembership(_) => ProposeError::BadVoters,
            ChangeMembershipError::LearnerNotFound(missing) => {
                ProposeError::NotLearner(StoreId(missing.node_id))
            }
        },
        RaftError::Fatal(_) => ProposeError::Stopped,
    }
}
