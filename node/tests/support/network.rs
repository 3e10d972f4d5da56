//! Hosts with networks between them, on one machine: network namespaces, each cable a pair of `veth`, and a namespace
//! of bridges that cables are plugged into. Nothing of it is seen by other processes, and all of it goes when the
//! [`Network`] is dropped.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The namespace that has the bridges.
const SWITCH: &str = "switch";

/// See the module. A host is called by its name, a bridge by its own.
pub(crate) struct Network {
    hosts: Vec<&'static str>,
}

impl Network {
    /// Bridges by these names; `None`, and words about it that no test harness swallows, where it is not permitted.
    pub(crate) fn new(bridges: &[&str]) -> Option<Self> {
        let mut network = Self { hosts: Vec::new() };
        let begun = network.host(SWITCH).and_then(|()| {
            bridges.iter().try_for_each(|bridge| {
                ip(&format!("-n {} link add {bridge} type bridge", space(SWITCH)))?;
                ip(&format!("-n {} link set {bridge} up", space(SWITCH)))
            })?;
            ip(&format!("-n {} link add probe-a type veth peer name probe-b", space(SWITCH)))
        });
        let Err(error) = begun else { return Some(network) };
        let line = format!(
            "\n*** SKIPPED: no network namespaces with bridges here, so nothing is cut off: {error}\n\
             *** (it takes root, the command 'ip', and a kernel with veth and bridge)\n\n"
        );
        // Past the capture of the test harness.
        let _ = std::io::stderr().write_all(line.as_bytes());
        None
    }

    /// A host, which has only its loopback.
    ///
    /// # Errors
    /// What the system has against it.
    pub(crate) fn host(&mut self, name: &'static str) -> Result<(), String> {
        // What another process of this number left behind.
        let _ = ip(&format!("netns del {}", space(name)));
        ip(&format!("netns add {}", space(name)))?;
        self.hosts.push(name);
        ip(&format!("-n {} link set lo up", space(name)))
    }

    /// A cable from `host` to a bridge; the host's end is called as the bridge and has this address.
    pub(crate) fn plug(&self, host: &str, bridge: &str, address: &str) {
        let (switch, port) = (space(SWITCH), port(host, bridge));
        ok(&format!("-n {switch} link add {port} type veth peer name {bridge} netns {}", space(host)));
        ok(&format!("-n {switch} link set {port} up"));
        self.join(host, bridge);
        up(host, bridge, address);
    }

    /// A cable from one host to another, with the addresses of both.
    pub(crate) fn connect(&self, hosts: [&str; 2], addresses: [&str; 2]) {
        let [one, other] = hosts;
        ok(&format!("-n {} link add {other} type veth peer name {one} netns {}", space(one), space(other)));
        up(one, other, addresses[0]);
        up(other, one, addresses[1]);
    }

    /// The bridge passes on nothing from or to the host: `ip link set … nomaster`.
    pub(crate) fn cut(&self, host: &str, bridge: &str) {
        ok(&format!("-n {} link set {} nomaster", space(SWITCH), port(host, bridge)));
    }

    /// And does again.
    pub(crate) fn join(&self, host: &str, bridge: &str) {
        ok(&format!("-n {} link set {} master {bridge}", space(SWITCH), port(host, bridge)));
    }

    /// Does something on a host. Threads and processes that it starts stay there.
    pub(crate) fn on<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        assert!(self.hosts.contains(&host), "{host} is no host");
        let path = format!("/run/netns/{}", space(host));
        let there = move || {
            let file = std::fs::File::open(path).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        let done = std::thread::scope(|scope| scope.spawn(there).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            let _ = ip(&format!("netns del {}", space(host)));
        }
    }
}

/// Namespaces have names that the whole machine sees.
fn space(host: &str) -> String {
    format!("multibeam-{}-{host}", std::process::id())
}

/// The bridge's end of a cable. Names of interfaces have 15 characters at the most.
fn port(host: &str, bridge: &str) -> String {
    let port = format!("{host}-{bridge}");
    assert!(port.len() <= 15, "{port} is too long for an interface");
    port
}

fn up(host: &str, interface: &str, address: &str) {
    ok(&format!("-n {} address add {address}/24 dev {interface}", space(host)));
    ok(&format!("-n {} link set {interface} up", space(host)));
}

/// What must work where the first of these did.
#[track_caller]
fn ok(args: &str) {
    ip(args).unwrap();
}

fn ip(args: &str) -> Result<(), String> {
    let output = Command::new("ip").args(args.split(' ')).output();
    let output = output.map_err(|error| format!("can't run 'ip': {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("'ip {args}' says: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
