//! The scripted kernel keeps the contract of kernels, friendly and not.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam_model::conformance::{self, Peer, Rig};
use multibeam_model::post::{ModelMail, Post};
use multibeam_model::sockets::{Caps, SocketId, Sockets};
use multibeam_model::{Benign, Chooser, Fault, ModelIo, ModelKernel, Seeded};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

struct ModelRig {
    kernel: ModelKernel,
    other: ModelMail,
    peers: Vec<(SocketId, VecDeque<u8>, bool)>,
    woken: Rc<Cell<bool>>,
}

impl ModelRig {
    fn new(caps: Caps, chooser: Rc<RefCell<dyn Chooser>>) -> Self {
        let post = Post::new(2, 3, 3, Rc::clone(&chooser));
        let woken = Rc::new(Cell::new(false));
        let wake = Rc::clone(&woken);
        post.borrow_mut().on_ring(0, move || wake.set(true));
        let sockets = Rc::new(RefCell::new(Sockets::new(caps, chooser)));
        let kernel = ModelKernel::new(ModelIo::new(sockets), ModelMail::new(Rc::clone(&post), 0));
        Self { kernel, other: ModelMail::new(post, 1), peers: Vec::new(), woken }
    }
}

impl Rig for ModelRig {
    type Kernel = ModelKernel;
    type Other = ModelMail;

    fn kernel(&mut self) -> &mut ModelKernel {
        &mut self.kernel
    }

    fn other(&mut self) -> &mut ModelMail {
        &mut self.other
    }

    fn connect(&mut self) -> Peer {
        let socket = self.kernel.io.sockets().borrow_mut().connect().unwrap();
        self.peers.push((socket, VecDeque::new(), false));
        Peer(self.peers.len() - 1)
    }

    fn push(&mut self, peer: Peer, bytes: &[u8]) {
        self.peers[peer.0].1.extend(bytes);
    }

    fn pull(&mut self, peer: Peer, max: usize) -> Vec<u8> {
        self.kernel.io.sockets().borrow_mut().pull(self.peers[peer.0].0, max)
    }

    fn end(&mut self, peer: Peer) {
        self.peers[peer.0].2 = true;
    }

    fn reset(&mut self, peer: Peer) {
        self.kernel.io.sockets().borrow_mut().reset(self.peers[peer.0].0);
    }

    fn saw_end(&mut self, peer: Peer) -> bool {
        let sockets = self.kernel.io.sockets().borrow();
        sockets.ended(self.peers[peer.0].0) || sockets.destroyed(self.peers[peer.0].0)
    }

    fn wait(&mut self) {
        for (socket, outgoing, ending) in &mut self.peers {
            let mut sockets = self.kernel.io.sockets().borrow_mut();
            let taken = sockets.push(*socket, outgoing.make_contiguous());
            outgoing.drain(..taken);
            if *ending && outgoing.is_empty() {
                *ending = false;
                sockets.end(*socket);
            }
        }
    }

    fn woken(&mut self) -> bool {
        self.woken.take()
    }
}

#[test]
fn a_friendly_scripted_kernel_conforms() {
    conformance::all(|| ModelRig::new(Caps::default(), Rc::new(RefCell::new(Benign))));
}

#[test]
fn an_unfriendly_scripted_kernel_conforms() {
    for seed in 0..200 {
        let mut chooser = Seeded::new(seed);
        // What the checks let pass: neither short counts nor interruptions break a promise.
        for fault in
            [Fault::ShortRead, Fault::ShortWrite, Fault::FewEdges, Fault::SpuriousEdge, Fault::StaleEdge]
        {
            chooser.chance(fault, 20_000);
        }
        chooser.chance(Fault::OutOfBuffers, 3_000);
        let caps = Caps { rx_bytes: 37, tx_bytes: 41, ..Caps::default() };
        let chooser = Rc::new(RefCell::new(chooser));
        conformance::all(|| ModelRig::new(caps, Rc::clone(&chooser) as Rc<RefCell<dyn Chooser>>));
    }
}
