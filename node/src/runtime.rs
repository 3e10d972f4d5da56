//! The runtime's side of the mail: asks shards whether they turn, tells them whether the node is isolated, and
//! tells them to stop.
//!
//! One task owns the mailbox ([`serve_mail`]); the admin server, [`crate::run()`] and whoever holds the lease
//! talk to it through [`Control`]. A probe travels the way of every command: through the shard's
//! ring, with its doorbell. At most one a shard is on its way.

use crate::kernel::Mail;
use crate::platform::{Platform, RuntimeMail};
use multibeam_proto::Command;
use multibeam_wire::limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX};
use smol_str::SmolStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// A shard that has not answered a probe after this long is reported as silent. A turn takes
/// milliseconds; this is long enough for a machine that stalls for a moment.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests to the mail task that wait to be taken up.
const REQUESTS_MAX: usize = 64;

/// Askers that share the next round of probes. Doubling it costs 2 KiB.
const WAITING_MAX: usize = 64;

/// What a round of probes found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Shards that did not answer within [`PROBE_TIMEOUT`].
    pub silent: Vec<usize>,
    /// Shards asked.
    pub shards: usize,
    /// The node is stopping.
    pub stopping: bool,
}

impl Health {
    /// Whether clients can be sent here.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.silent.is_empty() && !self.stopping
    }
}

#[derive(Debug)]
pub(crate) enum Request {
    Health(oneshot::Sender<Health>),
}

/// Where clients are to go while the node is isolated; `None` while it is not.
type Away = Option<Arc<[SmolStr]>>;

/// Talks to the mail task.
#[derive(Clone, Debug)]
pub struct Control {
    requests: mpsc::Sender<Request>,
    /// The latest value counts: one who watches, so no order of wake-ups is left to chance.
    away: watch::Sender<Away>,
    stop: mpsc::Sender<()>,
}

/// The mail task's side of [`Control`].
#[derive(Debug)]
pub struct Requests {
    requests: mpsc::Receiver<Request>,
    away: watch::Receiver<Away>,
    stop: mpsc::Receiver<()>,
}

/// A pair.
#[must_use]
pub fn control() -> (Control, Requests) {
    let (requests, requests_out) = mpsc::channel(REQUESTS_MAX);
    let (stop, stop_out) = mpsc::channel(1);
    let (away, away_out) = watch::channel(None);
    (Control { requests, away, stop }, Requests { requests: requests_out, away: away_out, stop: stop_out })
}

impl Control {
    /// Probes every shard. `None`: too many ask already, or the node is ending.
    pub async fn health(&self) -> Option<Health> {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Request::Health(answer)).ok()?;
        answered.await.ok()
    }

    /// The node has been without a lease for too long: every shard tells its clients to look elsewhere, first
    /// at `addresses` (`host:port`), in this order; as soon as its ring has room. What does not fit a GOAWAY is
    /// left out. Again with the same addresses: nothing happens.
    pub fn isolated(&self, addresses: &[String]) {
        let fits = addresses.iter().filter(|address| address.len() <= ADDRESS_BYTES_MAX);
        self.away.send_replace(Some(fits.take(ADDRESSES_MAX).map(SmolStr::new).collect()));
    }

    /// The node is isolated no more.
    pub fn rejoined(&self) {
        self.away.send_replace(None);
    }

    /// Tells every shard to stop, as soon as its ring has room. Asking twice is asking once.
    pub fn stop(&self) {
        let _ = self.stop.try_send(());
    }
}

/// Runs until every [`Control`] is gone.
pub async fn serve_mail<P: Platform>(platform: P, mail: P::RuntimeMail, shards: usize, requests: Requests) {
    let Requests { mut requests, mut away, mut stop } = requests;
    let mut post = Post::new(mail, shards);
    let mut timeout = None;
    loop {
        if !post.settle() {
            continue;
        }
        if post.round.is_none() {
            timeout = None;
            if post.begin_round() {
                timeout = Some(Box::pin(platform.sleep(PROBE_TIMEOUT)));
                continue;
            }
        }
        let timed_out = async {
            match &mut timeout {
                Some(timeout) => timeout.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = post.mail.rung() => {}
            Some(()) = stop.recv() => post.stop(),
            Ok(()) = away.changed() => {
                let away = away.borrow_and_update().clone();
                post.tell_away(away);
            }
            () = timed_out => post.end_round(),
            request = requests.recv() => match request {
                Some(Request::Health(answer)) => post.wait(answer),
                None => return,
            },
        }
    }
}

/// What the runtime has to tell one shard and hear from it.
#[derive(Clone, Copy, Debug, Default)]
struct Correspondence {
    /// A probe waits for room.
    probe_wanted: bool,
    /// A probe was sent and not answered.
    probe_in_flight: Option<u64>,
    /// An answer came in this round.
    answered: bool,
    /// The latest word on where clients are to go waits for room.
    away_wanted: bool,
    /// A stop waits for room.
    stop_wanted: bool,
}

/// The mailbox and what is to be sent with it.
struct Post<M> {
    mail: M,
    shards: Vec<Correspondence>,
    probes_sent: u64,
    away: Away,
    stopping: bool,
    /// Askers of the round that is going on.
    round: Option<Vec<oneshot::Sender<Health>>>,
    /// Askers of the next one.
    waiting: Vec<oneshot::Sender<Health>>,
}

impl<M: Mail> Post<M> {
    fn new(mail: M, shards: usize) -> Self {
        let shards = vec![Correspondence::default(); shards];
        Self { mail, shards, probes_sent: 0, away: None, stopping: false, round: None, waiting: Vec::new() }
    }

    /// Reads and writes all mail and arms the bell. True: nothing is left, so wait.
    fn settle(&mut self) -> bool {
        self.mail.disarm();
        while let Some((from, command)) = self.mail.pop() {
            self.take(from, &command);
        }
        self.mail.drained();
        for to in 0..self.shards.len() {
            self.send(to);
        }
        self.mail.flush();
        if self.round.is_some() && self.shards.iter().all(|shard| shard.answered) {
            self.end_round();
        }
        self.mail.arm();
        self.mail.is_empty()
    }

    fn take(&mut self, from: usize, command: &Command) {
        let Command::Probed { id } = command else {
            debug_assert!(false, "shard {from} sent the runtime {command:?}");
            return;
        };
        let shard = &mut self.shards[from];
        debug_assert_eq!(shard.probe_in_flight, Some(*id), "shard {from} answers what nobody asked");
        // An answer to a probe of an earlier round counts as well: the shard has turned.
        shard.probe_in_flight = None;
        shard.probe_wanted = false;
        shard.answered = true;
    }

    fn send(&mut self, to: usize) {
        loop {
            let shard = self.shards[to];
            let probe = shard.probe_wanted && shard.probe_in_flight.is_none();
            if !shard.stop_wanted && !shard.away_wanted && !probe {
                return;
            }
            if self.mail.room(to) == 0 {
                if self.mail.want_room(to) {
                    continue;
                }
                // Its drain rings.
                return;
            }
            if shard.stop_wanted {
                self.shards[to].stop_wanted = false;
                self.mail.push(to, Command::Stop);
            } else if shard.away_wanted {
                self.shards[to].away_wanted = false;
                self.mail.push(
                    to,
                    match &self.away {
                        Some(addresses) => Command::Isolated { addresses: Arc::clone(addresses) },
                        None => Command::Rejoined,
                    },
                );
            } else {
                self.probes_sent += 1;
                self.shards[to].probe_wanted = false;
                self.shards[to].probe_in_flight = Some(self.probes_sent);
                self.mail.push(to, Command::Probe { id: self.probes_sent });
            }
        }
    }

    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.shards.iter_mut().for_each(|shard| shard.stop_wanted = true);
        }
    }

    fn tell_away(&mut self, away: Away) {
        if self.away != away {
            self.away = away;
            self.shards.iter_mut().for_each(|shard| shard.away_wanted = true);
        }
    }

    fn wait(&mut self, answer: oneshot::Sender<Health>) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(answer);
        }
    }

    /// False: nobody waits for one.
    fn begin_round(&mut self) -> bool {
        debug_assert!(self.round.is_none());
        if self.waiting.is_empty() {
            return false;
        }
        for shard in &mut self.shards {
            shard.answered = false;
            shard.probe_wanted = true;
        }
        self.round = Some(std::mem::take(&mut self.waiting));
        true
    }

    fn end_round(&mut self) {
        let silent = |&(_, shard): &(usize, &Correspondence)| !shard.answered;
        let silent = self.shards.iter().enumerate().filter(silent).map(|(index, _)| index).collect();
        let health = Health { silent, shards: self.shards.len(), stopping: self.stopping };
        for asker in self.round.take().into_iter().flatten() {
            let _ = asker.send(health.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Mail to shards that pop nothing until told to, with one slot a ring.
    #[derive(Default)]
    struct Script {
        sent: Vec<(usize, Command)>,
        inbox: VecDeque<(usize, Command)>,
        full: Vec<bool>,
        wanted: Vec<usize>,
    }

    impl Mail for Script {
        fn room(&mut self, to: usize) -> usize {
            usize::from(!self.full[to])
        }
        fn want_room(&mut self, to: usize) -> bool {
            self.wanted.push(to);
            !self.full[to]
        }
        fn push(&mut self, to: usize, command: Command) {
            assert!(!self.full[to], "pushed without room");
            self.full[to] = true;
            self.sent.push((to, command));
        }
        fn flush(&mut self) {}
        fn pop(&mut self) -> Option<(usize, Command)> {
            self.inbox.pop_front()
        }
        fn drained(&mut self) {}
        fn is_empty(&mut self) -> bool {
            self.inbox.is_empty()
        }
        fn arm(&mut self) {}
        fn disarm(&mut self) {}
    }

    fn post(shards: usize) -> Post<Script> {
        Post::new(Script { full: vec![false; shards], ..Script::default() }, shards)
    }

    fn ask(post: &mut Post<Script>) -> oneshot::Receiver<Health> {
        let (answer, answered) = oneshot::channel();
        post.wait(answer);
        answered
    }

    #[test]
    fn a_round_ends_when_all_have_answered() {
        let mut post = post(2);
        let mut answered = ask(&mut post);
        assert!(post.begin_round() && post.settle());
        assert_eq!(post.mail.sent, [(0, Command::Probe { id: 1 }), (1, Command::Probe { id: 2 })]);
        post.mail.inbox.extend([(1, Command::Probed { id: 2 })]);
        post.settle();
        assert!(answered.try_recv().is_err());
        post.mail.inbox.extend([(0, Command::Probed { id: 1 })]);
        post.settle();
        assert_eq!(answered.try_recv(), Ok(Health { silent: vec![], shards: 2, stopping: false }));
    }

    #[test]
    fn a_silent_shard_is_named_and_never_has_two_probes() {
        let mut post = post(2);
        let mut answered = ask(&mut post);
        post.begin_round();
        post.settle();
        post.mail.inbox.extend([(0, Command::Probed { id: 1 })]);
        post.mail.full = vec![false; 2];
        post.settle();
        post.end_round();
        assert_eq!(answered.try_recv().unwrap().silent, [1]);

        let mut answered = ask(&mut post);
        post.begin_round();
        post.settle();
        assert_eq!(post.mail.sent.len(), 3, "{:?}", post.mail.sent);
        // Late, but it turns again.
        post.mail.inbox.extend([(0, Command::Probed { id: 3 }), (1, Command::Probed { id: 2 })]);
        post.settle();
        assert!(answered.try_recv().unwrap().is_good());
    }

    #[test]
    fn the_latest_word_on_isolation_waits_for_room_and_goes_once() {
        let mut post = post(2);
        let word = |name: &str| Some(Arc::from([SmolStr::new(name)]));
        post.mail.full[1] = true;
        post.tell_away(word("a:1"));
        post.settle();
        post.tell_away(word("b:1"));
        post.tell_away(word("b:1"));
        post.mail.full = vec![false; 2];
        post.settle();
        let isolated =
            |to, name: &str| (to, Command::Isolated { addresses: Arc::from([SmolStr::new(name)]) });
        assert_eq!(post.mail.sent, [isolated(0, "a:1"), isolated(0, "b:1"), isolated(1, "b:1")]);
        post.mail.full = vec![false; 2];
        post.tell_away(None);
        post.settle();
        assert_eq!(post.mail.sent[3..], [(0, Command::Rejoined), (1, Command::Rejoined)]);
    }

    #[test]
    fn addresses_that_fit_no_goaway_are_left_out() {
        let (control, requests) = control();
        let mut addresses = vec!["x".repeat(129)];
        addresses.extend((0..9).map(|n| format!("n{n}:1")));
        control.isolated(&addresses);
        let told: Vec<_> =
            requests.away.borrow().iter().flat_map(|it| it.iter()).map(ToString::to_string).collect();
        assert_eq!(told, addresses[1..9]);
        control.rejoined();
        assert!(requests.away.borrow().is_none());
    }

    #[test]
    fn a_stop_waits_for_room_and_goes_first() {
        let mut post = post(1);
        post.mail.full[0] = true;
        let mut answered = ask(&mut post);
        post.begin_round();
        post.stop();
        post.settle();
        assert_eq!((post.mail.sent.len(), &post.mail.wanted[..]), (0, &[0][..]));
        post.mail.full[0] = false;
        post.settle();
        assert_eq!(post.mail.sent, [(0, Command::Stop)]);
        post.mail.full[0] = false;
        post.stop();
        post.settle();
        assert_eq!(post.mail.sent, [(0, Command::Stop), (0, Command::Probe { id: 1 })]);
        post.mail.inbox.extend([(0, Command::Probed { id: 1 })]);
        post.settle();
        assert!(answered.try_recv().unwrap().stopping);
    }
}
