//! Who this node is, from its store and its settings: made durable before the first link.

use crate::config::ClusterSettings;
use crate::platform::Platform;
use multibeam_consensus::{Store, StoreError};
use multibeam_proto::planted::{self, Bug};
use multibeam_wire::link::{ClusterId, Incarnation, NodeId, StoreId};
use std::io;

/// Durable file of the consensus.
pub(super) const STORE_FILE: &str = "consensus";

const STORE: &str = "store";
const NODE: &str = "node";
const INCARNATION: &str = "incarnation";
const CLUSTER: &str = "cluster";
/// The number of the name that the configuration gave to the node, if it ever did.
const NAMED: &str = "named";
/// The first voters of a cluster that this node begins.
pub(super) const FIRST_VOTERS: &str = "first-voters";
/// What this voter has promised.
pub(super) const PROMISES: &str = "promises";

/// What the store says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The cluster; 0 while there is none.
    pub cluster: ClusterId,
    /// The name.
    pub node: NodeId,
    /// The disk.
    pub store: StoreId,
    /// This run.
    pub incarnation: Incarnation,
    /// What this voter has promised.
    pub promises: Option<Vec<u8>>,
}

/// Why a node does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file can't be opened.
    #[error("{0}")]
    Disk(io::Error),
    /// It can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something in it is of another length.
    #[error(
        "the durable fact {0:?} of this node is damaged: begin with an empty data directory, as a new disk"
    )]
    Damaged(&'static str),
    /// Another name than before.
    #[error(
        "the data directory belongs to a node of another name than {name}: restore that name, or begin with an empty \
         data directory (numbers of the names: {stored:016x} and {configured:016x})"
    )]
    Renamed {
        /// Number of the name that it had.
        stored: u64,
        /// Number of the one that was configured.
        configured: u64,
        /// The name that was configured.
        name: String,
    },
}

/// Opens the store and begins a new run.
pub(super) fn open<P: Platform>(
    platform: &P,
    settings: &ClusterSettings,
) -> Result<(Store, Identified), IdentityError> {
    let store = Store::open(platform.open_disk(STORE_FILE).map_err(IdentityError::Disk)?)?;
    let identified = identify(platform, settings, &store)?;
    Ok((store, identified))
}

fn identify<P: Platform>(
    platform: &P,
    settings: &ClusterSettings,
    store: &Store,
) -> Result<Identified, IdentityError> {
    let name = settings.name.as_deref().filter(|_| settings.is_configured());
    let (named, configured) = (number(store, NAMED)?, name.map(|name| number_of(name.as_bytes())));
    if let (Some(stored), Some(configured), Some(name)) = (named, configured, name)
        && stored != configured
    {
        return Err(IdentityError::Renamed { stored, configured, name: name.to_owned() });
    }
    // A node that ran without a name keeps the id that the others may know it by.
    let node = NodeId(number(store, NODE)?.unwrap_or_else(|| {
        settings.node_name().map_or_else(|| random(platform), |name| number_of(name.as_bytes()))
    }));
    let disk = match number(store, STORE)? {
        Some(stored) => StoreId(stored),
        None if planted::on(Bug::WipedDiskKeepsItsVote) => StoreId(node.0),
        None => StoreId(random(platform)),
    };
    // A wiped disk has forgotten how often the node ran, and the wall clock has not.
    let last = number(store, INCARNATION)?.unwrap_or(0);
    let incarnation = Incarnation((last + 1).max(platform.wall_ms()));
    let cluster = match store.fact(CLUSTER)? {
        None => ClusterId::default(),
        Some(bytes) => {
            let bytes = bytes.try_into().map_err(|_| IdentityError::Damaged(CLUSTER))?;
            ClusterId(u128::from_be_bytes(bytes))
        }
    };
    let named = named.or(configured).map(u64::to_be_bytes);
    store.put_facts(&[
        (NAMED, named.as_ref().map(<[u8; 8]>::as_slice)),
        (NODE, Some(&node.0.to_be_bytes())),
        (STORE, Some(&disk.0.to_be_bytes())),
        (INCARNATION, Some(&incarnation.0.to_be_bytes())),
    ])?;
    Ok(Identified { cluster, node, store: disk, incarnation, promises: store.fact(PROMISES)? })
}

/// Makes durable to which cluster this node belongs.
pub(super) fn belong(
    store: &Store,
    cluster: ClusterId,
    first_voters: Option<&[StoreId]>,
) -> Result<(), StoreError> {
    let cluster = cluster.0.to_be_bytes();
    let voters: Option<Vec<u8>> =
        first_voters.map(|voters| voters.iter().flat_map(|store| store.0.to_be_bytes()).collect());
    match &voters {
        None => store.put_facts(&[(CLUSTER, Some(&cluster))]),
        Some(voters) => store.put_facts(&[(CLUSTER, Some(&cluster)), (FIRST_VOTERS, Some(voters))]),
    }
}

/// Makes durable what a voter that begins has promised before it grants anything, if that is news.
pub(super) fn keep_promises(
    store: &Store,
    before: Option<&[u8]>,
    promises: &[u8],
) -> Result<(), IdentityError> {
    if before != Some(promises) {
        store.put_facts(&[(PROMISES, Some(promises))])?;
    }
    Ok(())
}

/// The first voters, if this node began a cluster.
pub(super) fn first_voters(store: &Store) -> Result<Option<Vec<StoreId>>, IdentityError> {
    let Some(bytes) = store.fact(FIRST_VOTERS)? else { return Ok(None) };
    let (ids, rest) = bytes.as_chunks::<8>();
    if ids.is_empty() || !rest.is_empty() {
        return Err(IdentityError::Damaged(FIRST_VOTERS));
    }
    Ok(Some(ids.iter().map(|id| StoreId(u64::from_be_bytes(*id))).collect()))
}

fn number(store: &Store, name: &'static str) -> Result<Option<u64>, IdentityError> {
    let Some(bytes) = store.fact(name)? else { return Ok(None) };
    let bytes = bytes.try_into().map_err(|_| IdentityError::Damaged(name))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

/// Any number but 0.
pub(super) fn random<P: Platform>(platform: &P) -> u64 {
    loop {
        let mut bytes = [0; 8];
        platform.entropy(&mut bytes);
        let number = u64::from_be_bytes(bytes);
        if number != 0 {
            return number;
        }
    }
}

/// A name as a number, never 0: FNV-1a, then the finalizer of `MurmurHash3`.
fn number_of(name: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ (hash >> 33)).max(1)
}
