//! The runtime's mailbox: the model's, with a bell that a task can wait for.

use multibeam::kernel::Mail;
use multibeam::platform::RuntimeMail;
use multibeam_model::core::Command;
use multibeam_model::post::{ModelMail, Post};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::sync::Notify;

/// Mail of the node's runtime.
#[derive(Debug)]
pub struct SimMail {
    mail: ModelMail,
    bell: Rc<Notify>,
}

impl SimMail {
    pub(super) fn new(post: &Rc<RefCell<Post>>, own: usize) -> Self {
        let bell = Rc::new(Notify::new());
        let ring = Rc::clone(&bell);
        post.borrow_mut().on_ring(own, move || ring.notify_one());
        Self { mail: ModelMail::new(Rc::clone(post), own), bell }
    }
}

impl RuntimeMail for SimMail {
    async fn rung(&mut self) {
        self.bell.notified().await;
    }
}

impl Mail for SimMail {
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
