//! The model's sockets as a kernel.

use crate::post::ModelMail;
use crate::sockets::{ModelSock, Sockets};
use multibeam::kernel::{Errno, Event, Io, Joined, Read, Send, Token};
use std::cell::RefCell;
use std::rc::Rc;

/// A kernel in memory.
pub type ModelKernel = Joined<ModelIo, ModelMail>;

/// The node's side of [`Sockets`].
#[derive(Clone, Debug)]
pub struct ModelIo(Rc<RefCell<Sockets>>);

impl ModelIo {
    /// The node's side of these.
    #[must_use]
    pub fn new(sockets: Rc<RefCell<Sockets>>) -> Self {
        Self(sockets)
    }

    /// The sockets, from their peers' side.
    #[must_use]
    pub fn sockets(&self) -> &Rc<RefCell<Sockets>> {
        &self.0
    }
}

impl Io for ModelIo {
    type Sock = ModelSock;

    fn events(&mut self, out: &mut Vec<Event>) {
        self.0.borrow_mut().take_events(out);
    }

    fn accept(&mut self) -> Result<ModelSock, Errno> {
        self.0.borrow_mut().accept()
    }

    fn shed(&mut self, farewell: &[u8]) -> Result<(), Errno> {
        self.0.borrow_mut().shed(farewell)
    }

    fn register(&mut self, sock: &ModelSock, token: Token) -> Result<(), Errno> {
        self.0.borrow_mut().register(sock, token)
    }

    fn read(&mut self, sock: &ModelSock, buf: &mut [u8]) -> Result<Read, Errno> {
        self.0.borrow_mut().read(sock, buf)
    }

    fn send(&mut self, batch: &mut [Send<'_, ModelSock>]) {
        self.0.borrow_mut().send(batch);
    }

    fn shutdown(&mut self, sock: &ModelSock) {
        self.0.borrow_mut().shutdown(sock);
    }

    fn close(&mut self, sock: ModelSock) {
        self.0.borrow_mut().close(sock);
    }

    fn stop_listening(&mut self) {
        self.0.borrow_mut().stop_listening();
    }
}
