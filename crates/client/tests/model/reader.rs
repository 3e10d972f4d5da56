//! What a subscription must do, in the plainest form: positions that only grow, and a list of what was
//! handed out, in order, with what was said of each.

use crate::cluster::{Log, PARTITIONS};
use crate::support::at;
use multibeam_client::session::{HandoutId, Next};
use multibeam_client::{Cursor, Event, Session, Start};
use multibeam_wire::SubscriptionId;
use std::collections::BTreeMap;

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    /// Owes an ack, under this name; how often it was handed out.
    Held(HandoutId, u32),
    GivenBack(u32),
    Done,
}

#[derive(Debug)]
struct HandedOut {
    partition: u32,
    to: u64,
    said: Said,
}

pub(crate) struct Reader {
    topic: &'static str,
    manual: bool,
    id: SubscriptionId,
    /// By partition: the last position that was handed out.
    taken: BTreeMap<u32, u64>,
    handled: BTreeMap<u32, u64>,
    /// In the order of the first time; without the prefix that is handled.
    open: Vec<HandedOut>,
    /// Messages that came for the first time.
    pub(crate) messages: usize,
}

impl Reader {
    /// Follows everything with manual acks, or one topic without.
    pub(crate) fn new(session: &mut Session, manual: bool) -> Self {
        let topic = if manual { "t.*" } else { "t.1" };
        let partitions = if manual { 0..PARTITIONS } else { 1..2 };
        let taken: BTreeMap<_, _> = partitions.map(|partition| (partition, 0)).collect();
        let mut reader = Self {
            topic,
            manual,
            id: SubscriptionId(0),
            handled: taken.clone(),
            taken,
            open: Vec::new(),
            messages: 0,
        };
        reader.subscribe(session);
        reader
    }

    fn subscribe(&mut self, session: &mut Session) {
        let cursor = self.cursor(&self.handled);
        self.id = session.subscribe(self.topic, Start::After(cursor)).unwrap();
        if self.manual {
            session.manual_acks(self.id);
        }
    }

    fn cursor(&self, places: &BTreeMap<u32, u64>) -> Cursor {
        if self.manual {
            super::support::behind_each(&places.iter().map(|(&part, &to)| (part, to)).collect::<Vec<_>>())
        } else {
            Cursor::of_topic(at(places[&1]))
        }
    }

    /// Another process goes on with the cursor that this one has stored as text.
    pub(crate) fn restart(&mut self, session: &mut Session, now_ms: u64) {
        let stored = session.cursor_handled(self.id).unwrap().to_string();
        session.unsubscribe(self.id, now_ms);
        assert_eq!(stored.parse(), Ok(self.cursor(&self.handled)));
        self.open.clear();
        self.taken = self.handled.clone();
        self.subscribe(session);
    }

    pub(crate) fn take_one(&mut self, session: &mut Session, now_ms: u64, log: &Log) {
        let next = session.next_event(self.id, now_ms);
        for handed_out in self.open.iter_mut().filter(|it| it.said == Said::Nothing) {
            handed_out.said = Said::Done;
        }
        match next {
            Next::Event(Event::Message(message), owed) => {
                let (partition, offset) = (self.partition(message.partition.0), message.position.offset.0);
                let stored = &log.partitions[partition as usize][usize::try_from(offset).unwrap() - 1];
                assert_eq!(
                    (&*message.body, message.topic.as_str()),
                    (&stored.body[..], stored.topic.as_str())
                );
                assert_eq!(owed.is_some(), self.manual);
                if message.attempt == 1 {
                    assert!(
                        !self.open.iter().any(|it| matches!(it.said, Said::GivenBack(_))),
                        "newer before older"
                    );
                    assert_eq!(self.next_of(partition, log), Some(offset), "each once, in order");
                    self.messages += 1;
                    self.hand_out(partition, offset, owed.map_or(Said::Nothing, |owed| Said::Held(owed, 1)));
                } else {
                    let again =
                        self.open.iter_mut().find(|it| matches!(it.said, Said::GivenBack(_))).unwrap();
                    assert_eq!((again.partition, again.to), (partition, offset), "the oldest first");
                    assert_eq!(again.said, Said::GivenBack(message.attempt - 1));
                    again.said = Said::Held(owed.unwrap(), message.attempt);
                }
            }
            Next::Event(Event::Gap { partition, from, to, .. }, None) => {
                let partition = self.partition(partition.0);
                assert_eq!(from, at(self.taken[&partition]), "a gap begins where the messages end");
                assert_eq!(self.next_of(partition, log), Some(to.offset.0), "it covers one message");
                self.hand_out(partition, to.offset.0, Said::Nothing);
            }
            Next::Event(Event::Subscribed { .. }, None) | Next::Wait => {}
            other => panic!("{other:?}"),
        }
        self.check(session);
    }

    fn partition(&self, told: u32) -> u32 {
        if self.manual { told } else { 1 }
    }

    /// The next message that there is for this reader.
    fn next_of(&self, partition: u32, log: &Log) -> Option<u64> {
        let behind =
            log.partitions[partition as usize].iter().enumerate().skip(self.taken[&partition] as usize);
        let mut own = behind.filter(|(_, stored)| self.manual || stored.topic == self.topic);
        own.next().map(|(at, _)| at as u64 + 1)
    }

    fn hand_out(&mut self, partition: u32, to: u64, said: Said) {
        self.taken.insert(partition, to);
        self.open.push(HandedOut { partition, to, said });
    }

    /// Says of one that is held that it is done, or that it is not.
    pub(crate) fn settle_one(&mut self, which: usize, done: bool, session: &mut Session, now_ms: u64) {
        let held = |it: &&mut HandedOut| matches!(it.said, Said::Held(..));
        let count = self.open.iter_mut().filter(held).count();
        let Some(one) = self.open.iter_mut().filter(held).nth(which % count.max(1)) else { return };
        let Said::Held(owed, attempt) = one.said else { return };
        if done {
            session.ack(self.id, owed, now_ms);
            one.said = Said::Done;
        } else {
            session.give_back(self.id, owed);
            one.said = Said::GivenBack(attempt);
        }
        self.check(session);
    }

    fn check(&mut self, session: &Session) {
        while self.open.first().is_some_and(|first| first.said == Said::Done) {
            let first = self.open.remove(0);
            self.handled.insert(first.partition, first.to);
        }
        assert_eq!(session.cursor(self.id), Some(&self.cursor(&self.taken)));
        assert_eq!(session.cursor_handled(self.id), Some(&self.cursor(&self.handled)));
    }

    /// Whether everything stored was handled.
    pub(crate) fn is_done(&self, log: &Log) -> bool {
        let at_end = self.taken.keys().all(|&partition| self.next_of(partition, log).is_none());
        at_end && self.open.iter().all(|it| it.said == Said::Nothing)
    }
}
