//! Why there is no TLS on a link, in sentences for the person who runs the cluster: what happened, with which
//! file or peer, and what to do about it.

use super::LinkTlsFiles;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use std::fmt;
use std::io;
use std::path::PathBuf;
use time::OffsetDateTime;

/// One of the files of a [`LinkTlsFiles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// [`LinkTlsFiles::ca`].
    Ca,
    /// [`LinkTlsFiles::certificate`].
    Certificate,
    /// [`LinkTlsFiles::key`].
    Key,
}

impl Piece {
    /// Its key in the section `[cluster.tls]`.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Certificate => "certificate",
            Self::Key => "key",
        }
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "the cluster's CA",
            Self::Certificate => "this node's certificate",
            Self::Key => "this node's key",
        })
    }
}

/// Why there is no TLS for links, or none on this link. Each text is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum LinkTlsError {
    /// A file can't be read.
    #[error("can't read {piece}, {}: {error}; [cluster.tls] {} names the file", path.display(), piece.setting())]
    Unreadable {
        /// Which.
        piece: Piece,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file holds something else, or what peers would refuse.
    #[error("{piece}{} {why}", in_file(path))]
    Unusable {
        /// Which.
        piece: Piece,
        /// The file, if it is from one.
        path: Option<PathBuf>,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// What was to be dialled is neither a name nor an IP address.
    #[error("can't link with {0:?}: it is no host; write a name or an IP address, and the port behind it")]
    Host(String),
    /// A handshake failed; the peer is named as well as this end knows it.
    #[error("no link with {peer}: it {failure}")]
    Handshake {
        /// Who the other end is.
        peer: String,
        /// What was wrong with it.
        failure: HandshakeFailure,
    },
    /// This process can't do TLS at all: no time, no random numbers.
    #[error("this node can't do TLS: {0}")]
    Ours(Error),
}

impl LinkTlsError {
    /// What an error of a stream of [`LinkTls`](super::LinkTls) says about TLS, `None` if it is about something
    /// else, such as a connection that broke. `peer` is who the other end is, as in "the node at node-b".
    ///
    /// A peer that refuses this node's certificate is found so, by the first read after a dial.
    #[must_use]
    pub fn of_stream(peer: &str, error: &io::Error) -> Option<Self> {
        let failure = HandshakeFailure::of_tls(tls_error(error)?);
        Some(Self::Handshake { peer: peer.to_owned(), failure })
    }

    /// Whether another try would end like this one, until a person mends something.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        match self {
            Self::Handshake { failure, .. } => {
                !matches!(failure, HandshakeFailure::Closed | HandshakeFailure::Broken(_))
            }
            Self::Unreadable { .. } | Self::Unusable { .. } | Self::Host(_) | Self::Ours(_) => true,
        }
    }

    pub(super) fn ours(error: impl fmt::Display) -> Self {
        Self::Ours(Error::General(error.to_string()))
    }

    /// Says in which file what can't be used is.
    pub(super) fn in_file_of(mut self, files: &LinkTlsFiles) -> Self {
        if let Self::Unusable { piece, path, .. } = &mut self {
            let file = match piece {
                Piece::Ca => &files.ca,
                Piece::Certificate => &files.certificate,
                Piece::Key => &files.key,
            };
            *path = Some(file.clone());
        }
        self
    }
}

fn in_file(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or_else(String::new, |path| format!(", {},", path.display()))
}

/// What was wrong with the other end of a handshake. Each text goes on after "it".
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFailure {
    /// Its certificate is not of our CA.
    #[error(
        "has a certificate that is not of this cluster's CA; make both nodes certificates of one CA, and give both \
         that CA as [cluster.tls] ca"
    )]
    OtherCa,
    /// Its certificate is too old.
    #[error("has a certificate that {0}; make it a new one, or set the clocks right")]
    Expired(Dates),
    /// Its certificate is of the future.
    #[error("has a certificate that {0}; set the clocks right")]
    NotYetValid(Dates),
    /// Its certificate is for others.
    #[error(
        "has a certificate for {names}, and not for the host that was dialled; dial it as one of these, or make it \
         a certificate with that host"
    )]
    WrongName {
        /// Whom the certificate is for.
        names: String,
    },
    /// Its certificate has another fault.
    #[error("has a certificate that can't be used ({0}); make it another one")]
    BadCertificate(CertificateError),
    /// It showed no certificate.
    #[error("showed no certificate; give it one ([cluster.tls] certificate and key)")]
    NoCertificate,
    /// It refuses our certificate, as of another CA.
    #[error(
        "says that this node's certificate is not of its CA; make both nodes certificates of one CA, and give both \
         that CA as [cluster.tls] ca"
    )]
    RefusedOtherCa,
    /// It refuses our certificate by its dates.
    #[error(
        "says that this node's certificate has expired or is not valid yet; make a new one, or set the clocks right"
    )]
    RefusedDates,
    /// It refuses our certificate; why, its side knows.
    #[error("refuses this node's certificate ({0:?}); its own log says why")]
    RefusedCertificate(AlertDescription),
    /// It does TLS, and none that links can use.
    #[error("does not do TLS 1.3, which links need; is the port that of links?")]
    NoTls13,
    /// It does TLS, and is no node.
    #[error("does TLS but not links; is the port that of links?")]
    NoLinks,
    /// What it sends is no TLS.
    #[error("does not speak TLS; is the port that of links, and does it have a section [cluster.tls]?")]
    NotTls,
    /// It left before the end.
    #[error("closed the connection during the handshake; its own log says why, if the port is that of links")]
    Closed,
    /// Something else about TLS.
    #[error("did what TLS does not allow ({0}); is the port that of links?")]
    Other(Error),
    /// The connection failed.
    #[error("can't be reached any longer: {0}")]
    Broken(io::Error),
}

impl HandshakeFailure {
    pub(super) fn of(error: io::Error) -> Self {
        if let Some(tls) = tls_error(&error) {
            return Self::of_tls(tls);
        }
        let closed = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
        );
        if closed { Self::Closed } else { Self::Broken(error) }
    }

    pub(super) fn of_tls(error: &Error) -> Self {
        if let Error::InvalidCertificate(fault) = error {
            return Self::of_certificate(fault);
        }
        if let Error::AlertReceived(alert) = error {
            return Self::of_alert(*alert, error);
        }
        if let Error::PeerIncompatible(lack) = error {
            let version = matches!(
                lack,
                PeerIncompatible::SupportedVersionsExtensionRequired
                    | PeerIncompatible::SignatureAlgorithmsExtensionRequired
                    | PeerIncompatible::Tls12NotOffered
                    | PeerIncompatible::Tls12NotOfferedOrEnabled
                    | PeerIncompatible::ServerDoesNotSupportTls12Or13
                    | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            );
            return if version { Self::NoTls13 } else { Self::Other(error.clone()) };
        }
        if matches!(error, Error::NoCertificatesPresented) {
            Self::NoCertificate
        } else if matches!(error, Error::NoApplicationProtocol) {
            Self::NoLinks
        } else if matches!(error, Error::InvalidMessage(_) | Error::PeerSentOversizedRecord) {
            Self::NotTls
        } else {
            Self::Other(error.clone())
        }
    }

    fn of_certificate(fault: &CertificateError) -> Self {
        if let CertificateError::ExpiredContext { time, not_after } = fault {
            return Self::Expired(Dates { word: "expired on", then: *not_after, now: *time });
        }
        if let CertificateError::NotValidYetContext { time, not_before } = fault {
            return Self::NotYetValid(Dates { word: "is not valid before", then: *not_before, now: *time });
        }
        if let CertificateError::NotValidForNameContext { presented, .. } = fault {
            return Self::WrongName { names: names(presented) };
        }
        // Two CAs may have one name; then it is the signature that tells them apart.
        if matches!(fault, CertificateError::UnknownIssuer | CertificateError::BadSignature) {
            return Self::OtherCa;
        }
        Self::BadCertificate(fault.clone())
    }

    fn of_alert(alert: AlertDescription, error: &Error) -> Self {
        type Alert = AlertDescription;
        let certificate = [
            Alert::BadCertificate,
            Alert::UnsupportedCertificate,
            Alert::CertificateRevoked,
            Alert::CertificateUnknown,
            Alert::CertificateRequired,
            Alert::AccessDenied,
        ];
        if certificate.contains(&alert) {
            Self::RefusedCertificate(alert)
        } else if [Alert::UnknownCA, Alert::DecryptError].contains(&alert) {
            Self::RefusedOtherCa
        } else if alert == Alert::CertificateExpired {
            Self::RefusedDates
        } else if alert == Alert::ProtocolVersion {
            Self::NoTls13
        } else if alert == Alert::NoApplicationProtocol {
            Self::NoLinks
        } else {
            Self::Other(error.clone())
        }
    }
}

/// Names of a certificate that are told of, each as far as it is a name; a peer may send any number.
const NAMES_TOLD_MAX: usize = 8;

fn names(presented: &[String]) -> String {
    let told: Vec<&str> = presented.iter().take(NAMES_TOLD_MAX).map(|name| plain(name)).collect();
    match presented.len().checked_sub(NAMES_TOLD_MAX) {
        _ if told.is_empty() => "no name at all".to_owned(),
        None | Some(0) => told.join(", "),
        Some(more) => format!("{} and {more} more", told.join(", ")),
    }
}

/// rustls tells the name of a certificate as its own source has it: `DnsName("node-b")`, `IpAddress(10.0.0.1)`.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

/// When a certificate begins or ends, and what day this node believes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    word: &'static str,
    then: UnixTime,
    now: UnixTime,
}

impl fmt::Display for Dates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (this node's clock says {})", self.word, moment(self.then), moment(self.now))
    }
}

/// To the second, for the clocks of two machines may differ by less than a day.
fn moment(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let moment = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    moment.map_or_else(
        || format!("second {} of 1970", time.as_secs()),
        |moment| {
            let (hour, minute, second) = moment.to_hms();
            format!("{} {hour:02}:{minute:02}:{second:02} UTC", moment.date())
        },
    )
}

/// The TLS error within an error of a stream.
fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_as_people_write_them_and_not_without_end() {
        assert_eq!(names(&[]), "no name at all");
        let some = ["DnsName(\"node-b\")", "IpAddress(10.0.0.1)", "other"].map(str::to_owned);
        assert_eq!(names(&some), "node-b, 10.0.0.1, other");
        assert_eq!(names(&vec!["a".to_owned(); 8]), "a, a, a, a, a, a, a, a");
        assert_eq!(names(&vec!["a".to_owned(); 10]), "a, a, a, a, a, a, a, a and 2 more");
    }

    #[test]
    fn any_time_has_a_text() {
        let text = |seconds| moment(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)));
        assert_eq!(text(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(text(1_700_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(text(u64::MAX), "second 18446744073709551615 of 1970");
    }
}
