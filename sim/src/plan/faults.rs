//! Faults as plain data: what happens, to whom, for how long.

use serde::{Deserialize, Serialize};

/// Names of a fault's kinds, and the list of them.
macro_rules! labels {
    ($fault:ident { $($kind:ident => $label:literal,)* }) => {
        impl $fault {
            /// Its name in reports.
            #[must_use]
            pub const fn label(&self) -> &'static str {
                match self {
                    $(Self::$kind { .. } => $label,)*
                }
            }

            /// Labels of all kinds: a sweep must see each of them hit.
            pub const LABELS: &[&str] = &[$($label),*];
        }
    };
}
pub(crate) use labels;

/// Something bad that happens at a time. Hosts are client hosts, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultEvent {
    /// Nothing passes between a host and the node.
    Partition {
        /// The client host.
        host: usize,
        /// How long.
        for_ms: u64,
    },
    /// Nothing passes in one direction.
    PartitionOneWay {
        /// The client host.
        host: usize,
        /// From the node, or to it.
        from_node: bool,
        /// How long.
        for_ms: u64,
    },
    /// Everything between a host and the node is late.
    Hold {
        /// The client host.
        host: usize,
        /// How long.
        for_ms: u64,
    },
    /// The node's process is killed, and started again later.
    KillNode {
        /// How long it is away.
        for_ms: u64,
    },
    /// The node's machine loses power: nobody hears of it.
    PowerLoss {
        /// How long it is away.
        for_ms: u64,
    },
    /// The node is killed and started again at once.
    BounceNode,
    /// The node is asked to stop, and started again later.
    StopNode {
        /// How long it is away after it has stopped.
        for_ms: u64,
    },
    /// A client host is killed with all its clients, and started again later.
    KillClients {
        /// The client host.
        host: usize,
        /// How long it is away.
        for_ms: u64,
    },
    /// A client host loses power with all its clients: the node does not hear of it.
    ClientsPowerLoss {
        /// The client host.
        host: usize,
        /// How long it is away.
        for_ms: u64,
    },
    /// A client's process stops reading its connections.
    StopReading {
        /// Index over publishers, then subscribers.
        client: usize,
        /// How long.
        for_ms: u64,
    },
    /// A subscriber's application begins anew, behind what it had in hand.
    RestartSubscriber {
        /// Index of the subscriber.
        subscriber: usize,
        /// It says goodbye first.
        politely: bool,
    },
    /// A publisher publishes as fast as it can.
    Flood {
        /// Index of the publisher.
        publisher: usize,
        /// How long.
        for_ms: u64,
    },
    /// The connection of one well-behaved client breaks.
    Cut {
        /// Index over publishers, then subscribers.
        client: usize,
    },
    /// A subscriber does not come for its messages.
    SlowReader {
        /// Index of the subscriber.
        subscriber: usize,
        /// How long.
        for_ms: u64,
    },
    /// The node finds no descriptor for most of those who connect.
    NoDescriptors {
        /// How long.
        for_ms: u64,
    },
}

labels! {
    FaultEvent {
        Partition => "partition",
        PartitionOneWay => "partition one way",
        Hold => "hold",
        KillNode => "kill node",
        PowerLoss => "power loss",
        BounceNode => "bounce node",
        StopNode => "stop node",
        KillClients => "kill clients",
        Cut => "cut connection",
        SlowReader => "slow reader",
        NoDescriptors => "no descriptors",
        ClientsPowerLoss => "clients power loss",
        StopReading => "stop reading",
        RestartSubscriber => "restart subscriber",
        Flood => "flood",
    }
}
