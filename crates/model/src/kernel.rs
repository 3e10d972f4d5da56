//! Sockets and mail of one shard as a kernel.

use crate::post::ModelMail;
use crate::sockets::{ModelSock, Sockets};
use multibeam::kernel::{Errno, Event, Io, Mail, Send, Token};
use multibeam_proto::Command;
use std::cell::RefCell;
use std::rc::Rc;

/// A kernel in memory.
#[derive(Debug)]
pub struct ModelKernel {
    sockets: Rc<RefCell<Sockets>>,
    mail: ModelMail,
}

impl ModelKernel {
    /// A kernel over these sockets and this mail.
    #[must_use]
    pub fn new(sockets: Rc<RefCell<Sockets>>, mail: ModelMail) -> Self {
        Self { sockets, mail }
    }

    /// The sockets, from their peers' side.
    #[must_use]
    pub fn sockets(&self) -> &Rc<RefCell<Sockets>> {
        &self.sockets
    }

    /// The mail.
    #[must_use]
    pub fn mail(&self) -> &ModelMail {
        &self.mail
    }
}

impl Io for ModelKernel {
    type Sock = ModelSock;

    fn events(&mut self, out: &mut Vec<Event>) {
        self.sockets.borrow_mut().take_events(out);
    }

    fn accept(&mut self) -> Result<ModelSock, Errno> {
        self.sockets.borrow_mut().accept()
    }

    fn shed(&mut self, farewell: &[u8]) -> Result<(), Errno> {
        self.sockets.borrow_mut().shed(farewell)
    }

    fn register(&mut self, sock: &ModelSock, token: Token) -> Result<(), Errno> {
        self.sockets.borrow_mut().register(sock, token)
    }

    fn read(&mut self, sock: &ModelSock, buf: &mut [u8]) -> Result<usize, Errno> {
        self.sockets.borrow_mut().read(sock, buf)
    }

    fn send(&mut self, batch: &mut [Send<'_, ModelSock>]) {
        self.sockets.borrow_mut().send(batch);
    }

    fn shutdown(&mut self, sock: &ModelSock) {
        self.sockets.borrow_mut().shutdown(sock);
    }

    fn close(&mut self, sock: ModelSock) {
        self.sockets.borrow_mut().close(sock);
    }

    fn stop_listening(&mut self) {
        self.sockets.borrow_mut().stop_listening();
    }
}

impl Mail for ModelKernel {
    fn room(&mut self, to: usize) -> usize {
        self.mail.room(to)
    }

    fn want_room(&mut self, to: usize) -> bool {
        self.mail.want_room(to)
    }

    fn push(&mut self, to: usize, command: Command) {
        self.mail.push(to, command);
    }

    fn flush(&mut self) {
        self.mail.flush();
    }

    fn pop(&mut self) -> Option<(usize, Command)> {
        self.mail.pop()
    }

    fn drained(&mut self) {
        self.mail.drained();
    }

    fn is_empty(&mut self) -> bool {
        self.mail.is_empty()
    }

    fn arm(&mut self) {
        self.mail.arm();
    }

    fn disarm(&mut self) {
        self.mail.disarm();
    }
}
