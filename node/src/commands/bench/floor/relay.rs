//! From what publishers sent to what subscribers get.

use std::io;

/// Bytes of a [`Record`]'s head.
const RECORD_BYTES: usize = 8;

/// In front of the bytes that a floor is to forward: to whom, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    to: u32,
    bytes: u32,
}

impl Record {
    const ALL: u32 = u32::MAX;

    /// So many bytes to each subscriber.
    pub(crate) const fn to_all(bytes: usize) -> Self {
        Self { to: Self::ALL, bytes: bytes as u32 }
    }

    /// So many bytes to one user.
    pub(crate) const fn to_one(user: u64, bytes: usize) -> Self {
        Self { to: user as u32, bytes: bytes as u32 }
    }

    pub(crate) fn to_bytes(self) -> [u8; RECORD_BYTES] {
        (u64::from(self.to) << 32 | u64::from(self.bytes)).to_be_bytes()
    }

    fn from_bytes(bytes: [u8; RECORD_BYTES]) -> Self {
        let word = u64::from_be_bytes(bytes);
        Self { to: (word >> 32) as u32, bytes: word as u32 }
    }
}

/// Who subscribed, and what waits to be sent to whom. Sockets go by their index.
#[derive(Debug, Default)]
pub(super) struct Relay {
    subscribers: Vec<usize>,
    users: Vec<User>,
    /// Users that have something to send.
    touched: Vec<usize>,
    /// What is to be sent to all.
    all: Vec<u8>,
    /// By publisher's index: the start of a record whose end has not come.
    rests: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct User {
    socket: Option<usize>,
    bytes: Vec<u8>,
}

impl Relay {
    /// A subscriber, of one user's topic where it has one.
    pub(super) fn subscribed(&mut self, socket: usize, user: Option<usize>) {
        self.subscribers.push(socket);
        if let Some(user) = user {
            if self.users.len() <= user {
                self.users.resize_with(user + 1, User::default);
            }
            self.users[user].socket = Some(socket);
        }
    }

    /// A publisher sent bytes.
    ///
    /// # Errors
    /// They are for nobody.
    pub(super) fn received(&mut self, publisher: usize, bytes: &[u8]) -> io::Result<()> {
        if self.rests.len() <= publisher {
            self.rests.resize_with(publisher + 1, Vec::new);
        }
        let mut rest = std::mem::take(&mut self.rests[publisher]);
        if rest.is_empty() {
            let used = self.records(bytes)?;
            rest.extend_from_slice(&bytes[used..]);
        } else {
            rest.extend_from_slice(bytes);
            let used = self.records(&rest)?;
            rest.drain(..used);
        }
        self.rests[publisher] = rest;
        Ok(())
    }

    /// Takes the whole records and returns how many bytes they are.
    fn records(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut used = 0;
        while let Some((head, behind)) = bytes[used..].split_first_chunk() {
            let record = Record::from_bytes(*head);
            let Some(content) = behind.get(..record.bytes as usize) else { break };
            if record.to == Record::ALL {
                self.all.extend_from_slice(content);
            } else {
                let user = record.to as usize;
                let place =
                    self.users.get_mut(user).ok_or_else(|| io::Error::other("a record for nobody"))?;
                if place.bytes.is_empty() {
                    self.touched.push(user);
                }
                place.bytes.extend_from_slice(content);
            }
            used += RECORD_BYTES + content.len();
        }
        Ok(used)
    }

    /// Sends what waits: once a socket, to all or to those users that have something.
    ///
    /// # Errors
    /// Those of `send`.
    pub(super) fn send(&mut self, mut send: impl FnMut(usize, &[u8]) -> io::Result<()>) -> io::Result<()> {
        if !self.all.is_empty() {
            for &socket in &self.subscribers {
                send(socket, &self.all)?;
            }
            self.all.clear();
        }
        for user in self.touched.drain(..) {
            let User { socket, bytes } = &mut self.users[user];
            let socket = socket.ok_or_else(|| io::Error::other("a record for nobody"))?;
            send(socket, bytes)?;
            bytes.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(relay: &mut Relay) -> Vec<(usize, Vec<u8>)> {
        let mut sent = Vec::new();
        relay
            .send(|socket, bytes| {
                sent.push((socket, bytes.to_vec()));
                Ok(())
            })
            .unwrap();
        sent
    }

    fn record(record: Record, bytes: &[u8]) -> Vec<u8> {
        [&record.to_bytes()[..], bytes].concat()
    }

    #[test]
    fn a_record_goes_to_all_however_it_is_cut() {
        let bytes = record(Record::to_all(3), b"abc");
        for cut in 0..=bytes.len() {
            let mut relay = Relay::default();
            relay.subscribed(4, None);
            relay.subscribed(5, None);
            relay.received(0, &bytes[..cut]).unwrap();
            relay.received(0, &bytes[cut..]).unwrap();
            assert_eq!(sent(&mut relay), [(4, b"abc".to_vec()), (5, b"abc".to_vec())], "{cut}");
            assert_eq!(sent(&mut relay), []);
        }
    }

    #[test]
    fn records_of_one_user_leave_in_one_send() {
        let mut relay = Relay::default();
        relay.subscribed(8, Some(1));
        relay.subscribed(9, Some(0));
        let [first, other, second] =
            [(1, b"a"), (0, b"b"), (1, b"c")].map(|(user, bytes)| record(Record::to_one(user, 1), bytes));
        relay.received(2, &[first, other].concat()).unwrap();
        relay.received(3, &second).unwrap();
        assert_eq!(sent(&mut relay), [(8, b"ac".to_vec()), (9, b"b".to_vec())]);
        assert!(relay.received(2, &record(Record::to_one(2, 0), b"")).is_err());
    }
}
