//! What the node does with its ends: the calls of [`multibeam::kernel::Io`].

use super::{ModelSock, STALE_MAX, SocketId, Sockets};
use crate::chooser::Fault;
use multibeam::kernel::{Errno, Event, Read, Send, Token};
use std::rc::Rc;

impl Sockets {
    pub(crate) fn take_events(&mut self, out: &mut Vec<Event>) {
        self.seen.calls += 1;
        let count = if self.edges.len() > 1 && self.strikes(Fault::FewEdges) {
            1 + self.below(self.edges.len() - 1)
        } else {
            self.edges.len()
        };
        out.extend(self.edges.drain(..count));
        if !self.edges.is_empty()
            && let Some(wake) = &self.wake
        {
            wake();
        }
        if !self.stale.is_empty() && self.strikes(Fault::StaleEdge) {
            let token = self.stale[self.below(self.stale.len())];
            self.seen.stale_edges += 1;
            out.push(Event::Socket { token, readable: true, writable: true, ended: false });
        }
        if self.strikes(Fault::SpuriousEdge) {
            let tokens: Vec<Token> = self.views().map(|view| view.token).collect();
            if tokens.is_empty() {
                out.push(Event::Accept);
            } else {
                let token = tokens[self.below(tokens.len())];
                out.push(Event::Socket { token, readable: true, writable: true, ended: false });
            }
        }
    }

    pub(crate) fn accept(&mut self) -> Result<ModelSock, Errno> {
        self.seen.calls += 1;
        if self.strikes(Fault::Interrupted) {
            return Err(Errno::Interrupted);
        }
        // Linux takes the descriptor before it looks whether somebody waits.
        if self.held >= self.caps.descriptors || self.strikes(Fault::OutOfDescriptors) {
            return Err(Errno::OutOfDescriptors);
        }
        let id = self.next_waiting()?;
        if self.strikes(Fault::Aborted) {
            self.destroy(id);
            return Err(Errno::Aborted);
        }
        Ok(self.hold(id))
    }

    fn next_waiting(&mut self) -> Result<SocketId, Errno> {
        match self.backlog.pop_front() {
            Some(id) => Ok(id),
            None => {
                self.accept_armed = true;
                Err(Errno::Again)
            }
        }
    }

    fn hold(&mut self, id: SocketId) -> ModelSock {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.held = true;
        }
        self.held += 1;
        ModelSock { id, leaks: Rc::clone(&self.leaks), closed: false }
    }

    pub(crate) fn shed(&mut self, farewell: &[u8]) -> Result<(), Errno> {
        self.seen.calls += 1;
        if self.strikes(Fault::Interrupted) {
            return Err(Errno::Interrupted);
        }
        let id = self.next_waiting()?;
        self.seen.shed += 1;
        let sock = self.hold(id);
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.tx.extend(farewell.iter().take(self.caps.tx_bytes));
        }
        self.close(sock);
        Ok(())
    }

    pub(crate) fn register(&mut self, sock: &ModelSock, token: Token) -> Result<(), Errno> {
        self.seen.calls += 1;
        if self.strikes(Fault::RegisterFails) {
            return Err(Errno::OutOfBuffers);
        }
        let Some(socket) = self.sockets.get_mut(&sock.id) else { return Err(Errno::Reset) };
        socket.token = Some(token);
        socket.watched = Some(token);
        socket.read_armed = true;
        socket.write_armed = true;
        self.settle(sock.id);
        Ok(())
    }

    pub(crate) fn read(&mut self, sock: &ModelSock, buf: &mut [u8]) -> Result<Read, Errno> {
        self.seen.calls += 1;
        if self.strikes(Fault::Interrupted) {
            return Err(Errno::Interrupted);
        }
        let short = self.strikes(Fault::ShortRead);
        let Some(socket) = self.sockets.get_mut(&sock.id) else { return Err(Errno::Reset) };
        let there = socket.rx.len().min(buf.len());
        if there == 0 {
            if socket.reset && !socket.reset_told {
                socket.reset_told = true;
                return Err(Errno::Reset);
            }
            if socket.peer_ended || socket.reset {
                return Ok(Read { bytes: 0, drained: false });
            }
            socket.read_armed = true;
            return Err(Errno::Again);
        }
        let count = if short { 1 + self.chooser.borrow_mut().below(there) } else { there };
        for (to, from) in buf.iter_mut().zip(socket.rx.drain(..count)) {
            *to = from;
        }
        // As on a system's socket: who gets less than was asked for has got everything, but for an end.
        let drained = socket.rx.is_empty() && count < buf.len();
        socket.read_armed |= drained;
        self.settle(sock.id);
        self.tell_peer(sock.id);
        Ok(Read { bytes: count, drained })
    }

    pub(crate) fn send(&mut self, batch: &mut [Send<'_, ModelSock>]) {
        assert!(batch.len() <= multibeam::kernel::SEND_BATCH_MAX, "a batch of {}", batch.len());
        for at in 0..batch.len() {
            let id = batch[at].sock.id;
            assert!(!batch[..at].iter().any(|entry| entry.sock.id == id), "{id:?} twice in a batch");
            assert!(batch[at].done.is_none(), "{id:?} was sent before");
            assert_eq!(self.sockets[&id].token, Some(batch[at].token), "the token of another socket");
            batch[at].done = Some(self.send_one(id, &batch[at].bufs));
        }
    }

    fn send_one(&mut self, id: SocketId, bufs: &[std::io::IoSlice<'_>; 2]) -> Result<usize, Errno> {
        self.seen.calls += 1;
        if self.strikes(Fault::Interrupted) {
            return Err(Errno::Interrupted);
        }
        if self.strikes(Fault::OutOfBuffers) {
            return Err(Errno::OutOfBuffers);
        }
        let short = self.strikes(Fault::ShortWrite);
        let tx_bytes = self.caps.tx_bytes;
        let Some(socket) = self.sockets.get_mut(&id) else { return Err(Errno::Pipe) };
        if socket.reset {
            let told = std::mem::replace(&mut socket.reset_told, true);
            return Err(if told { Errno::Pipe } else { Errno::Reset });
        }
        assert!(!socket.shut, "{id:?} was written to after its end");
        let total = bufs[0].len() + bufs[1].len();
        assert!(total > 0, "an empty send");
        let there = total.min(tx_bytes - socket.tx.len());
        if there == 0 {
            socket.write_armed = true;
            return Err(Errno::Again);
        }
        let count = if short { 1 + self.chooser.borrow_mut().below(there) } else { there };
        socket.tx.extend(bufs.iter().flat_map(|buf| buf.iter()).take(count));
        socket.sent += count as u64;
        self.tell_peer(id);
        Ok(count)
    }

    pub(crate) fn shutdown(&mut self, sock: &ModelSock) {
        self.seen.calls += 1;
        if let Some(socket) = self.sockets.get_mut(&sock.id) {
            socket.shut = true;
        }
        self.tell_peer(sock.id);
    }

    pub(crate) fn close(&mut self, mut sock: ModelSock) {
        self.seen.calls += 1;
        sock.closed = true;
        self.held -= 1;
        let Some(socket) = self.sockets.get_mut(&sock.id) else { return };
        assert!(socket.held, "{:?} was closed twice", sock.id);
        socket.held = false;
        socket.shut = true;
        if let Some(token) = socket.token.take() {
            self.stale.push_back(token);
            if self.stale.len() > STALE_MAX {
                self.stale.pop_front();
            }
            self.edges.retain(|event| !matches!(event, Event::Socket { token: t, .. } if *t == token));
        }
        if !self.sockets[&sock.id].rx.is_empty() {
            if !self.sockets[&sock.id].tx.is_empty() {
                self.seen.destroyed += 1;
            }
            self.destroy(sock.id);
        }
        self.tell_peer(sock.id);
        self.forget(sock.id);
    }

    fn destroy(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.destroyed = true;
            socket.tx.clear();
            socket.rx.clear();
        }
        self.tell_peer(id);
    }

    pub(crate) fn stop_listening(&mut self) {
        self.listening = false;
        while let Some(id) = self.backlog.pop_front() {
            self.destroy(id);
        }
    }
}
