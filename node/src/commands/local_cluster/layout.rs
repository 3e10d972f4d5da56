//! Where the nodes of a cluster on this machine are: their ports, configurations, data and logs.
//!
//! ```text
//!  DIR/node-1.toml   clients P, links P + 1, admin P + 80
//!  DIR/node-1.log    what it prints
//!  DIR/node-1/       its data
//!  DIR/node-2…       each port 10 higher
//! ```

use crate::os::DataDir;
use std::cell::Cell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Numbers of nodes: all vote, and an even number is no safer than one fewer.
pub(in crate::commands) const NODES: [u16; 3] = [1, 3, 5];

/// From one node's ports to the next one's.
const PORTS_APART: u16 = 10;
/// From the port for clients to the others of the node. Admin ports begin behind all of clients and links, and with
/// the base 7400 the first node has the ports that every command takes when nothing else is said.
const LINKS: u16 = 1;
const ADMIN: u16 = 80;

/// The first node's port for clients. Lower ones need rights, and above there is no room for five nodes.
pub(in crate::commands) const BASE_PORTS: RangeInclusive<i64> = 1024..=65_000;

const _: () = {
    let last = (NODES[NODES.len() - 1] - 1) * PORTS_APART;
    assert!(last + LINKS < ADMIN, "the ports of two nodes are the same");
    assert!(*BASE_PORTS.end() + (last + ADMIN) as i64 <= u16::MAX as i64);
};

/// Event loops of a node: several, and few threads for all nodes together.
const SHARDS: usize = 2;

/// How a configuration begins that may be replaced.
const FIRST_LINE: &str = "# Written by 'multibeam dev' whenever it starts; changes are lost.";

/// One node.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Place {
    pub(in crate::commands) name: String,
    pub(in crate::commands) clients: SocketAddr,
    pub(in crate::commands) links: SocketAddr,
    pub(in crate::commands) admin: SocketAddr,
    pub(in crate::commands) config: PathBuf,
    pub(in crate::commands) log: PathBuf,
    data_dir: PathBuf,
}

/// All nodes.
#[derive(Debug)]
pub(in crate::commands) struct Layout {
    pub(in crate::commands) folder: PathBuf,
    pub(in crate::commands) places: Vec<Place>,
    /// It is deleted at the end.
    goes: Cell<bool>,
}

impl Layout {
    /// Writes the configurations of so many nodes. `folder`: what an operator wants to keep.
    ///
    /// # Errors
    /// Names the file. Nothing is started.
    pub(in crate::commands) fn prepare(
        nodes: u16,
        base_port: u16,
        folder: Option<&Path>,
    ) -> Result<Self, String> {
        let own = || std::env::temp_dir().join(format!("multibeam-dev-{}", std::process::id()));
        let path = folder.map_or_else(own, Path::to_owned);
        let unusable = |error| {
            format!("can't use the folder {}: {error}; choose another with --data-dir", path.display())
        };
        fs::create_dir_all(&path).map_err(unusable)?;
        let absolute = path.canonicalize().map_err(unusable)?;
        let places = (0..nodes).map(|index| Place::new(&absolute, base_port, index)).collect();
        let layout = Self { folder: absolute, places, goes: Cell::new(folder.is_none()) };
        for place in &layout.places {
            layout.write(place)?;
        }
        Ok(layout)
    }

    fn write(&self, place: &Place) -> Result<(), String> {
        let path = &place.config;
        if fs::read_to_string(path).is_ok_and(|text| !text.starts_with(FIRST_LINE)) {
            return Err(format!(
                "{} is there and was not written by 'multibeam dev': choose another folder with --data-dir",
                path.display()
            ));
        }
        let failed = |error| format!("can't write {}: {error}", path.display());
        fs::write(path, self.config(place)?).map_err(failed)
    }

    /// The file of a node.
    fn config(&self, place: &Place) -> Result<String, String> {
        let Place { name, clients, links, admin, data_dir, .. } = place;
        let path = data_dir.to_str().ok_or_else(|| {
            format!(
                "{} is no text that a configuration can hold: choose another --data-dir",
                data_dir.display()
            )
        })?;
        // A string of JSON is one of TOML.
        let path = serde_json::Value::from(path);
        let voters: Vec<String> = self.places.iter().map(|place| format!("\"{}\"", place.links)).collect();
        Ok(format!(
            "{FIRST_LINE}\n\
             listen = \"{clients}\"\n\
             admin = \"{admin}\"\n\
             shards = {SHARDS}\n\
             data_dir = {path}\n\
             \n\
             [cluster]\n\
             listen = \"{links}\"\n\
             name = \"{name}\"\n\
             initial_voters = [{}]\n\
             voters = {}\n",
            voters.join(", "),
            voters.len()
        ))
    }

    /// From here on the folder stays, for whoever is told that it has the logs.
    pub(in crate::commands) fn keep(&self) {
        self.goes.set(false);
    }

    /// Deletes the folder if it was made for this run, unless a node that somebody else started uses it.
    pub(in crate::commands) fn tidy(&self) {
        if !self.goes.get() {
            return;
        }
        let used = self.places.iter().find(|place| DataDir::open(&place.data_dir).is_err());
        match used {
            Some(place) => eprintln!("{} is still used, so {} stays", place.name, self.folder.display()),
            None => drop(fs::remove_dir_all(&self.folder)),
        }
    }
}

impl Place {
    fn new(folder: &Path, base_port: u16, index: u16) -> Self {
        let name = format!("node-{}", index + 1);
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, base_port + index * PORTS_APART + port));
        Self {
            clients: at(0),
            links: at(LINKS),
            admin: at(ADMIN),
            config: folder.join(format!("{name}.toml")),
            log: folder.join(format!("{name}.log")),
            data_dir: folder.join(&name),
            name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ADMIN_DEFAULT, LISTEN_DEFAULT, NodeConfig, Overrides};
    use std::collections::BTreeSet;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("multibeam-layout-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn five_nodes_have_fifteen_ports_and_files_that_nodes_take() {
        let folder = scratch("five");
        let layout = Layout::prepare(5, 7400, Some(&folder)).unwrap();
        let ports: BTreeSet<SocketAddr> =
            layout.places.iter().flat_map(|place| [place.clients, place.links, place.admin]).collect();
        let folders: BTreeSet<&PathBuf> = layout.places.iter().map(|place| &place.data_dir).collect();
        assert_eq!((ports.len(), folders.len()), (15, 5));
        assert_eq!((layout.places[0].clients, layout.places[0].admin), (LISTEN_DEFAULT, ADMIN_DEFAULT));
        for place in &layout.places {
            let config = NodeConfig::load(Some(&place.config), Overrides::default(), |_| None).unwrap();
            assert_eq!((config.listen, config.admin), (place.clients, place.admin));
            assert_eq!(config.data_dir, place.data_dir);
            assert_eq!(config.cluster.listen, Some(place.links));
            assert_eq!((config.cluster.initial_voters.len(), config.cluster.times.voters), (5, 5));
        }
        layout.tidy();
        assert!(folder.exists(), "a folder that was given stays");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_configuration_of_somebody_else_is_left_alone() {
        let folder = scratch("other");
        Layout::prepare(1, 7400, Some(&folder)).unwrap();
        Layout::prepare(1, 7500, Some(&folder)).unwrap();
        let path = folder.join("node-1.toml");
        fs::write(&path, "shards = 3\n").unwrap();
        let error = Layout::prepare(1, 7400, Some(&folder)).unwrap_err();
        assert!(error.contains("node-1.toml") && error.contains("--data-dir"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "shards = 3\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_of_its_own_goes_with_the_run() {
        let layout = Layout::prepare(1, 7400, None).unwrap();
        let used = DataDir::open(&layout.places[0].data_dir).unwrap();
        layout.tidy();
        assert!(layout.folder.exists(), "a node uses it");
        drop(used);
        layout.tidy();
        assert!(!layout.folder.exists());
    }

    #[test]
    fn a_folder_that_an_error_names_stays() {
        let layout = Layout::prepare(1, 7400, None).unwrap();
        layout.keep();
        layout.tidy();
        assert!(layout.folder.exists());
        fs::remove_dir_all(&layout.folder).unwrap();
    }
}
