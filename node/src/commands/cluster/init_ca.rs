//! `multibeam cluster init-ca`: a CA in a folder and certificates for nodes, so that a cluster can be tried out
//! without a CA of one's own. All is made and loaded as a node would before the first file is written; no file
//! that is there is ever written to.

use super::super::Failure;
use crate::link_tls::authority::{Authority, Issued, Validity};
use crate::link_tls::{LinkTls, LinkTlsError, server_name};
use clap::Args;
use rustls::pki_types::UnixTime;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

const EXAMPLES: &str = "Examples:
  multibeam cluster init-ca --out certs --node node-1,10.0.0.1 --node node-2,10.0.0.2
  multibeam cluster init-ca --out certs --node node-3,10.0.0.3  the CA in certs makes one more
  multibeam cluster init-ca --out certs --node localhost,127.0.0.1,::1 --days 7";

/// Days that a node's certificate is valid when nothing else is said, which is what browsers once took at the most.
const DAYS_DEFAULT: u32 = 825;

/// Days that the CA's certificate is valid, and a node's at the most: who tries out for ten years is not trying out.
const DAYS_MAX: u32 = 3650;

/// How much earlier than now certificates begin, for machines whose clocks are behind this one's.
const CLOCKS_APART: Duration = Duration::from_secs(3600);

const DAY: Duration = Duration::from_secs(86_400);

/// Everybody may read a certificate, and only its owner a key.
const MODE_CERTIFICATE: u32 = 0o644;
const MODE_KEY: u32 = 0o600;

const CA: &str = "ca";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InitCaArgs {
    /// Folder for the files; if it has ca.pem and ca.key, these make the certificates.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Makes the certificate of a node, with the names and IP addresses by which it is dialled; the first names
    /// its files. May be given many times.
    #[arg(long = "node", value_name = "HOST[,HOST…]", required = true, value_parser = hosts)]
    nodes: Vec<Hosts>,
    /// Days that the nodes' certificates are valid, 1 to 3650.
    #[arg(long, value_name = "N", default_value_t = DAYS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    days: u32,
    /// Prints JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// By what a node is dialled; at least one host.
#[derive(Clone, Debug)]
struct Hosts(Vec<String>);

impl Hosts {
    fn first(&self) -> &str {
        &self.0[0]
    }
}

fn hosts(text: &str) -> Result<Hosts, String> {
    let hosts: Vec<String> = text.split(',').map(str::to_owned).collect();
    for host in &hosts {
        // Brackets belong to a port.
        if host.starts_with('[') || server_name(host).is_none() {
            return Err(format!("{host:?} is neither a name nor an IP address; write hosts without a port"));
        }
    }
    if hosts[0] == CA {
        return Err("a node's files can't be called ca, as the CA's are; put another host first".to_owned());
    }
    Ok(Hosts(hosts))
}

pub(super) fn init_ca(args: &InitCaArgs) -> Result<(), Failure> {
    let mut files = BTreeSet::new();
    if let Some(twice) = args.nodes.iter().find(|hosts| !files.insert(hosts.first())) {
        let first = twice.first();
        return Err(Failure::Usage(format!(
            "two nodes have the first host {first}, which names their files; begin one with another host"
        )));
    }
    let made = make(args)?;
    let out = write(&args.out, &made)?;
    let text = if args.json { made.lines(&out) } else { made.text(&out) };
    // Who closed our output does not want to read this.
    let _ = io::stdout().write_all(text.as_bytes());
    eprintln!(
        "this is for trying out: whoever has {} can be any node, so keep it from the nodes, or delete it",
        out.join("ca.key").display()
    );
    Ok(())
}

/// All that is to be written, and what was there of the CA.
struct Made {
    ca: String,
    /// `None` for a CA that was there.
    ca_key: Option<String>,
    ca_until: String,
    nodes: Vec<(Hosts, Issued)>,
    until: String,
}

fn make(args: &InitCaArgs) -> Result<Made, Failure> {
    for hosts in &args.nodes {
        for ending in ["pem", "key"] {
            absent(&args.out.join(format!("{}.{ending}", hosts.first())))?;
        }
    }
    let now = DefaultTimeProvider.current_time().ok_or_else(|| "the clock can't be read".to_owned())?;
    let (authority, found) = authority(&args.out)?;
    let is_new = found.is_none();
    let ca_validity = validity(now, DAYS_MAX);
    let ca = match found {
        Some(ca) => ca,
        None => authority.certificate(ca_validity).map_err(|error| error.to_string())?,
    };
    let validity = validity(now, args.days);
    let mut nodes = Vec::with_capacity(args.nodes.len());
    for hosts in &args.nodes {
        let issued = authority.issue(&hosts.0, validity).map_err(|error| error.to_string())?;
        loads(&args.out, &ca, &issued)?;
        nodes.push((hosts.clone(), issued));
    }
    let ca_key = is_new.then(|| authority.key());
    Ok(Made { ca, ca_key, ca_until: day(ca_validity.until), nodes, until: day(validity.until) })
}

/// The CA of the folder and its certificate, or a new one.
fn authority(out: &Path) -> Result<(Authority, Option<String>), Failure> {
    let (certificate, key) = (out.join("ca.pem"), out.join("ca.key"));
    match (present(&certificate)?, present(&key)?) {
        (false, false) => {
            let authority = Authority::generate().map_err(|error| error.to_string())?;
            Ok((authority, None))
        }
        (true, true) => {
            let read = |path: &Path| {
                std::fs::read_to_string(path)
                    .map_err(|error| format!("can't read {}: {error}", path.display()))
            };
            let (pem, secret) = (read(&certificate)?, read(&key)?);
            let authority =
                Authority::from_key(&secret).map_err(|error| format!("{}: {error}", key.display()))?;
            Ok((authority, Some(pem)))
        }
        (there, _) => {
            let (there, missing) = if there { (certificate, "ca.key") } else { (key, "ca.pem") };
            let there = there.display();
            Err(format!(
                "{there} is there without {missing}; put that beside it to make more certificates of this CA, or choose \
                 another --out for a new one"
            )
            .into())
        }
    }
}

/// A file that only its owner can read counts as there.
fn present(path: &Path) -> Result<bool, String> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(format!("can't look for {}: {error}; choose another --out", path.display())),
    }
}

fn absent(path: &Path) -> Result<(), String> {
    if present(path)? {
        return Err(format!(
            "{} is there already, and nothing was written; delete it to make it anew, or choose another --out",
            path.display()
        ));
    }
    Ok(())
}

/// Loads what was made as its node will. Only a CA of the folder can fail in that.
fn loads(out: &Path, ca: &str, issued: &Issued) -> Result<(), String> {
    let (ca, certificate, key) = (ca.as_bytes(), issued.certificate.as_bytes(), issued.key.as_bytes());
    let loaded = LinkTls::from_pem(ca, certificate, key, Arc::new(DefaultTimeProvider));
    loaded.map(drop).map_err(|error: LinkTlsError| {
        format!(
            "ca.pem and ca.key in {} are not a pair that this command made ({error}); choose another --out, or make \
             the certificates with what made that CA",
            out.display()
        )
    })
}

fn validity(now: UnixTime, days: u32) -> Validity {
    let now = Duration::from_secs(now.as_secs());
    Validity {
        from: UnixTime::since_unix_epoch(now.saturating_sub(CLOCKS_APART)),
        until: UnixTime::since_unix_epoch(now + DAY * days),
    }
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| "ever".to_owned(), |time| time.date().to_string())
}

/// Writes all files, or none if one fails; returns the folder as any place calls it.
fn write(out: &Path, made: &Made) -> Result<PathBuf, String> {
    let unusable =
        |error: io::Error| format!("can't use the folder {}: {error}; choose another --out", out.display());
    std::fs::create_dir_all(out).map_err(unusable)?;
    let out = out.canonicalize().map_err(unusable)?;
    let mut written: Vec<PathBuf> = Vec::new();
    for (name, mode, content) in made.files() {
        let path = out.join(name);
        let create = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let result = create.and_then(|mut file| {
            written.push(path.clone());
            file.write_all(content.as_bytes())?;
            file.sync_all()
        });
        if let Err(error) = result {
            // A half of a cluster is of no use, and would be in the way of the next run.
            for path in written {
                let _ = std::fs::remove_file(path);
            }
            return Err(format!("can't write {}: {error}; nothing is left of what was made", path.display()));
        }
    }
    Ok(out)
}

impl Made {
    fn files(&self) -> Vec<(String, u32, &str)> {
        let mut files = Vec::new();
        if let Some(key) = &self.ca_key {
            files.push(("ca.key".to_owned(), MODE_KEY, key.as_str()));
            files.push(("ca.pem".to_owned(), MODE_CERTIFICATE, self.ca.as_str()));
        }
        for (hosts, issued) in &self.nodes {
            files.push((format!("{}.key", hosts.first()), MODE_KEY, issued.key.as_str()));
            files.push((format!("{}.pem", hosts.first()), MODE_CERTIFICATE, issued.certificate.as_str()));
        }
        files
    }

    fn text(&self, out: &Path) -> String {
        let mut text = match self.ca_key {
            Some(_) => format!("made a CA in {}, valid until {}\n", out.display(), self.ca_until),
            None => format!("used the CA in {}\n", out.display()),
        };
        for (hosts, _) in &self.nodes {
            let (first, all, until) = (hosts.first(), hosts.0.join(", "), &self.until);
            text += &format!("made {first}.pem and {first}.key for {all}, valid until {until}\n");
        }
        for (hosts, _) in &self.nodes {
            let line = NodeLine::new(self, hosts, out);
            text += &format!("\nin the configuration of {}:\n[cluster.tls]\n", line.node);
            for (setting, path) in [("ca", &line.ca), ("certificate", &line.certificate), ("key", &line.key)]
            {
                text += &format!("{setting} = {}\n", json(path));
            }
        }
        text
    }

    fn lines(&self, out: &Path) -> String {
        let file = |name: &str| out.join(name).display().to_string();
        let ca = CaLine {
            ca: file("ca.pem"),
            key: file("ca.key"),
            made: self.ca_key.is_some(),
            valid_until: self.ca_key.is_some().then_some(&self.ca_until),
        };
        let nodes = self.nodes.iter().map(|(hosts, _)| json(&NodeLine::new(self, hosts, out)) + "\n");
        std::iter::once(json(&ca) + "\n").chain(nodes).collect()
    }
}

/// Also a string of TOML.
fn json(value: &impl Serialize) -> String {
    // Strings, flags and lists of these always have a form in JSON.
    serde_json::to_string(value).unwrap_or_default()
}

/// In the order in which people read it.
#[derive(Serialize)]
struct CaLine<'a> {
    ca: String,
    key: String,
    made: bool,
    /// Not told of a CA that was there.
    valid_until: Option<&'a String>,
}

#[derive(Serialize)]
struct NodeLine<'a> {
    node: &'a str,
    hosts: &'a [String],
    ca: String,
    certificate: String,
    key: String,
    valid_until: &'a str,
}

impl<'a> NodeLine<'a> {
    fn new(made: &'a Made, hosts: &'a Hosts, out: &Path) -> Self {
        let file = |name: &str, ending: &str| out.join(format!("{name}.{ending}")).display().to_string();
        let node = hosts.first();
        Self {
            node,
            hosts: &hosts.0,
            ca: file(CA, "pem"),
            certificate: file(node, "pem"),
            key: file(node, "key"),
            valid_until: &made.until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_given_by_its_hosts() {
        for (text, good) in [
            ("node-1", true),
            ("node-1,10.0.0.1,::1", true),
            ("node-1,ca", true),
            ("", false),
            ("node-1,", false),
            ("ca", false),
            ("node-1:7410", false),
            ("[::1]", false),
            ("../node", false),
            ("*.example.org", false),
        ] {
            assert_eq!(hosts(text).is_ok(), good, "{text:?}");
        }
    }

    #[test]
    fn if_one_file_can_not_be_written_none_is() {
        let out = std::env::temp_dir().join(format!("multibeam-init-ca-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&out);
        std::fs::create_dir_all(&out).unwrap();
        let node = |name: &str| {
            (
                Hosts(vec![name.to_owned()]),
                Issued { certificate: "fresh".to_owned(), key: "fresh".to_owned() },
            )
        };
        let nodes = vec![node("node-1"), node("node-2")];
        let made = Made {
            ca: String::new(),
            ca_key: Some(String::new()),
            ca_until: String::new(),
            nodes,
            until: String::new(),
        };
        // Somebody was faster.
        let theirs = out.join("node-2.pem");
        std::fs::write(&theirs, "theirs").unwrap();
        let error = write(&out, &made).unwrap_err();
        assert!(error.contains(theirs.to_str().unwrap()) && error.contains("exists"), "{error}");
        assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
        std::fs::remove_dir_all(&out).unwrap();
    }
}
