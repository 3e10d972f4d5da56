//! TLS of links over streams in memory: who gets through, and what is said to who does not.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/certificates.rs"]
mod certificates;

use certificates::{Cluster, HandClock, NOW, YEAR};
use multibeam::link_tls::{HandshakeFailure, LINK_ALPN, LinkTls, LinkTlsError, LinkTlsFiles, Piece};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// Bytes that a stream has room for: more than a handshake takes.
const ROOM: usize = 64 * 1024;
/// With less, two ends of rustls wait for each other: the dialler's first answer is 6 bytes, and neither end
/// reads before it has sent all it has.
const ROOM_LEAST: usize = 6;

type Stream = TlsStream<DuplexStream>;
type Ends = (Result<Stream, LinkTlsError>, Result<Stream, LinkTlsError>);

/// Dials by `host` and accepts.
async fn handshake(dialler: &LinkTls, host: &str, acceptor: &LinkTls) -> Ends {
    let (near, far) = duplex(ROOM);
    tokio::join!(dialler.dial(near, host), acceptor.accept(far))
}

fn failure(error: LinkTlsError) -> HandshakeFailure {
    let text = error.to_string();
    assert!(text.starts_with("no link with the node ") && text.contains("; "), "no advice in {text:?}");
    match error {
        LinkTlsError::Handshake { failure, .. } => failure,
        LinkTlsError::Unreadable { .. }
        | LinkTlsError::Unusable { .. }
        | LinkTlsError::Host(_)
        | LinkTlsError::Ours(_) => panic!("{text}"),
    }
}

/// Checks of which kind the failure of a handshake is.
macro_rules! told {
    ($end:expr, $pattern:pat) => {
        let told = failure($end.unwrap_err());
        assert!(matches!(told, $pattern), "{told:?}");
    };
}

/// What the dialler learns by reading after the handshake.
async fn refusal(dialled: Result<Stream, LinkTlsError>) -> HandshakeFailure {
    let error = dialled.unwrap().read(&mut [0]).await.unwrap_err();
    failure(LinkTlsError::of_stream("the node at node-b", &error).unwrap())
}

/// Sends a byte each way, so that the dialler has read the tickets, too.
async fn talk(dialled: &mut Stream, accepted: &mut Stream) {
    dialled.write_all(b"x").await.unwrap();
    dialled.flush().await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'x');
    accepted.write_all(b"y").await.unwrap();
    accepted.flush().await.unwrap();
    assert_eq!(dialled.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn nodes_of_one_cluster_get_through_and_both_have_shown_who_they_are() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node(&["node-a"]), cluster.node(&["node-b", "10.0.0.1", "fd00::1"]));
    for room in [ROOM, ROOM_LEAST] {
        for host in ["node-b", "NODE-B", "10.0.0.1", "fd00::1", "[fd00::1]"] {
            let (near, far) = duplex(room);
            // The tickets are on their way when the acceptor is done: the dialler reads, so that they have room.
            let dial = async {
                let mut dialled = a.tls.dial(near, host).await.unwrap();
                assert_eq!(dialled.read_u8().await.unwrap(), b'x');
                dialled
            };
            let accept = async {
                let mut accepted = b.tls.accept(far).await.unwrap();
                accepted.write_all(b"x").await.unwrap();
                accepted.flush().await.unwrap();
                accepted
            };
            let (dialled, accepted) = tokio::join!(dial, accept);
            for (end, peer) in [(&dialled, &b), (&accepted, &a)] {
                let shown = end.get_ref().1.peer_certificates().unwrap();
                assert_eq!(shown, [CertificateDer::from_pem_slice(peer.certificate.as_bytes()).unwrap()]);
                assert_eq!(end.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
                assert_eq!(end.get_ref().1.alpn_protocol(), Some(LINK_ALPN));
            }
        }
    }
}

#[tokio::test]
async fn each_link_after_the_first_is_resumed() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node(&["node-a"]), cluster.node(&["node-b"]));
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        // A clone is the same node, and a peer has two links.
        for dialler in [&a.tls.clone(), &a.tls] {
            let (dialled, accepted) = handshake(dialler, "node-b", &b.tls).await;
            let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
            talk(&mut dialled, &mut accepted).await;
            let first = expected == HandshakeKind::Full && std::ptr::eq(dialler, &raw const a.tls);
            let expected = if first { HandshakeKind::Resumed } else { expected };
            assert_eq!(dialled.get_ref().1.handshake_kind(), Some(expected));
            assert_eq!(accepted.get_ref().1.handshake_kind(), Some(expected));
            assert!(accepted.get_ref().1.peer_certificates().is_some(), "who resumes has shown who it is");
        }
    }
    // The other way round nobody has dialled yet.
    let (dialled, _accepted) = handshake(&b.tls, "node-a", &a.tls).await;
    assert_eq!(dialled.unwrap().get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
}

#[tokio::test]
async fn a_restarted_peer_is_dialled_in_full() {
    let cluster = Cluster::new();
    let (a, mut b) = (cluster.node(&["node-a"]), cluster.node(&["node-b"]));
    for _ in 0..2 {
        let (dialled, accepted) = handshake(&a.tls, "node-b", &b.tls).await;
        let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
        talk(&mut dialled, &mut accepted).await;
        assert_eq!(dialled.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        b = b.again(&cluster);
    }
}

#[tokio::test]
async fn nodes_of_another_ca_are_refused_in_both_directions() {
    let (ours, theirs) = (Cluster::new(), Cluster::new());
    let (a, b) = (ours.node(&["node-a"]), theirs.node(&["node-b"]));
    let (dialled, accepted) = handshake(&a.tls, "node-b", &b.tls).await;
    told!(dialled, HandshakeFailure::OtherCa);
    told!(accepted, HandshakeFailure::RefusedOtherCa);

    // A dialler that trusts everybody's CA, and whom the acceptor does not trust.
    let both = Cluster::trusting(&[&ours, &theirs]);
    let stranger = theirs.node_of("node-a", &both);
    let (dialled, accepted) = handshake(&stranger, "node-b", &ours.node(&["node-b"]).tls).await;
    told!(accepted, HandshakeFailure::OtherCa);
    assert!(matches!(refusal(dialled).await, HandshakeFailure::RefusedOtherCa));
}

#[tokio::test]
async fn a_dialler_without_a_certificate_is_refused() {
    let cluster = Cluster::new();
    let b = cluster.node(&["node-b"]);
    let config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), HandClock::at(NOW))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots(&cluster))
        .with_no_client_auth();
    let (near, far) = duplex(ROOM);
    let accept = b.tls.accept(far);
    let (dialled, accepted) = tokio::join!(dial_as(config, &[LINK_ALPN], near), accept);
    told!(accepted, HandshakeFailure::NoCertificate);
    assert!(matches!(refusal(Ok(dialled.unwrap())).await, HandshakeFailure::RefusedCertificate(_)));
}

fn roots(cluster: &Cluster) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cluster.ca.as_bytes()).unwrap()).unwrap();
    roots
}

async fn dial_as(
    mut config: ClientConfig,
    protocols: &[&[u8]],
    stream: DuplexStream,
) -> std::io::Result<Stream> {
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("node-b").unwrap();
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?.into())
}

#[tokio::test]
async fn what_is_not_for_links_is_refused() {
    let cluster = Cluster::new();
    let b = cluster.node(&["node-b"]);
    let pair = || {
        let chain = vec![CertificateDer::from_pem_slice(b.certificate.as_bytes()).unwrap()];
        (chain, PrivateKeyDer::from_pem_slice(b.key.as_bytes()).unwrap())
    };
    let provider = Arc::new(ring::default_provider());
    for protocols in [&[][..], &[&b"mb/1"[..]]] {
        let (chain, key) = pair();
        let config = ClientConfig::builder_with_details(Arc::clone(&provider), HandClock::at(NOW))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots(&cluster))
            .with_client_auth_cert(chain, key)
            .unwrap();
        let (near, far) = duplex(ROOM);
        let (_dialled, accepted) = tokio::join!(dial_as(config, protocols, near), b.tls.accept(far));
        told!(accepted, HandshakeFailure::NoLinks);

        let (chain, key) = pair();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots(&cluster).into(), Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_details(Arc::clone(&provider), HandClock::at(NOW))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let (near, far) = duplex(ROOM);
        let accept = TlsAcceptor::from(Arc::new(config)).accept(far);
        let (dialled, _accepted) = tokio::join!(b.tls.dial(near, "node-b"), accept);
        told!(dialled, HandshakeFailure::NoLinks);
    }
}

#[tokio::test]
async fn a_peer_with_a_certificate_for_another_host_is_refused() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node(&["node-a"]), cluster.node(&["node-b", "10.0.0.1"]));
    for host in ["node-c", "10.0.0.2", "localhost"] {
        let (dialled, accepted) = handshake(&a.tls, host, &b.tls).await;
        let error = dialled.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("the node at {host}:")), "{text}");
        assert!(text.contains("a certificate for node-b, 10.0.0.1, and"), "{text}");
        assert!(matches!(failure(error), HandshakeFailure::WrongName { .. }));
        let told = failure(accepted.unwrap_err());
        assert!(matches!(told, HandshakeFailure::RefusedCertificate(_)));
    }
    for host in ["", "node b", "node-b:1"] {
        let error = a.tls.dial(duplex(1).0, host).await.unwrap_err();
        assert!(matches!(&error, LinkTlsError::Host(said) if said == host), "{error}");
    }
}

#[tokio::test]
async fn the_given_clock_says_whether_a_certificate_is_valid() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node(&["node-a"]), cluster.node(&["node-b"]));
    for (now, text) in [(NOW + 2 * YEAR, "expired on 2024-11-13"), (0, "is not valid before 2023-11-14")] {
        // Only the dialler's clock is elsewhere.
        a.clock.set(now);
        let (dialled, accepted) = handshake(&a.tls, "node-b", &b.tls).await;
        let error = dialled.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        told!(accepted, HandshakeFailure::RefusedDates);
        a.clock.set(NOW);

        b.clock.set(now);
        let (dialled, accepted) = handshake(&a.tls, "node-b", &b.tls).await;
        let error = accepted.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert!(matches!(refusal(dialled).await, HandshakeFailure::RefusedDates));
        b.clock.set(NOW);
    }
    let (dialled, accepted) = handshake(&a.tls, "node-b", &b.tls).await;
    assert!(dialled.is_ok() && accepted.is_ok());
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_not_resumed() {
    let cluster = Cluster::new();
    for late_end in ["dialler", "acceptor"] {
        let (a, b) = (cluster.node(&["node-a"]), cluster.node(&["node-b"]));
        // Tickets live for hours, and the certificates for a minute more.
        for clock in [&a.clock, &b.clock] {
            clock.set(NOW + YEAR - 60);
        }
        let (dialled, accepted) = handshake(&a.tls, "node-b", &b.tls).await;
        talk(&mut dialled.unwrap(), &mut accepted.unwrap()).await;
        let late = if late_end == "dialler" { &a.clock } else { &b.clock };
        late.set(NOW + YEAR + 60);
        let (dialled, accepted) = handshake(&a.tls, "node-b", &b.tls).await;
        let (refusing, other) = if late_end == "dialler" { (dialled, accepted) } else { (accepted, dialled) };
        told!(refusing, HandshakeFailure::Expired(_));
        // In a full handshake the other end would have been told of the dates.
        match other {
            Ok(other) => assert_eq!(other.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed)),
            Err(error) => assert!(matches!(failure(error), HandshakeFailure::Closed)),
        }
    }
}

/// A record of a handshake that holds one message, with the old version in all places.
fn old_handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let [high, low] = length(body.len());
    [&[22, 3, 3][..], &length(body.len() + 4), &[kind, 0, high, low], body].concat()
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let cluster = Cluster::new();
    let node = cluster.node(&["node-b"]);
    // Version, random, no session, one cipher suite (ECDHE-ECDSA-AES128-GCM), no compression, and of extensions
    // only the signatures (ECDSA with SHA-256).
    let tail = [0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3];
    let random = [7; 32];
    let client_hello = old_handshake(1, &[&[3, 3][..], &random, &tail].concat());
    let server_hello = old_handshake(2, &[&[3, 3][..], &random, &[0, 0xc0, 0x2b, 0]].concat());

    let (mut near, far) = duplex(ROOM);
    near.write_all(&client_hello).await.unwrap();
    let error = node.tls.accept(far).await.unwrap_err();
    assert!(matches!(failure(error), HandshakeFailure::NoTls13));
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70], "alert: fatal, protocol_version");

    let (near, mut far) = duplex(ROOM);
    far.write_all(&server_hello).await.unwrap();
    let error = node.tls.dial(near, "node-b").await.unwrap_err();
    assert!(matches!(failure(error), HandshakeFailure::NoTls13));
}

#[tokio::test]
async fn peers_that_speak_no_tls_end_in_an_error() {
    let node = Cluster::new().node(&["node-b"]);
    let garbage: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let http = b"GET / HTTP/1.1\r\nHost: node-b\r\n\r\n";
    // A record of a handshake whose inside is none, and one longer than any may be.
    let (inside, oversized) = ([22, 3, 3, 0, 4, 99, 0, 0, 0], [22, 3, 3, 0xff, 0xff, 1]);
    for bytes in [&garbage[..], http, &inside, &oversized, &[0; 512], &[255; 512]] {
        for dials in [true, false] {
            let (near, mut far) = duplex(ROOM);
            far.write_all(bytes).await.unwrap();
            // It stays open: the bytes alone must do.
            let end = if dials { node.tls.dial(near, "node-b").await } else { node.tls.accept(near).await };
            let told = failure(end.unwrap_err());
            assert!(matches!(told, HandshakeFailure::NotTls | HandshakeFailure::Other(_)), "{told:?}");
        }
    }
    let (near, mut far) = duplex(ROOM);
    far.write_all(http).await.unwrap();
    let told = failure(node.tls.accept(near).await.unwrap_err());
    assert!(matches!(told, HandshakeFailure::NotTls), "{told:?}");
}

#[tokio::test]
async fn peers_that_leave_end_in_an_error() {
    let node = Cluster::new().node(&["node-b"]);
    for bytes in [&[][..], &[22], &[22, 3, 3, 0, 200, 1, 0]] {
        for dials in [true, false] {
            let (near, mut far) = duplex(ROOM);
            far.write_all(bytes).await.unwrap();
            drop(far);
            let end = if dials { node.tls.dial(near, "node-b").await } else { node.tls.accept(near).await };
            let told = failure(end.unwrap_err());
            assert!(matches!(told, HandshakeFailure::Closed), "{bytes:?}: {told:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_broke_is_not_blamed_on_tls() {
    let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    assert!(LinkTlsError::of_stream("node-b", &error).is_none());
}

/// The simulator counts bytes: they must not depend on what was drawn.
#[tokio::test]
async fn a_handshake_moves_as_many_bytes_whatever_the_keys_are() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..32 {
        let cluster = Cluster::new();
        let (a, b) = (cluster.node(&["node-a"]), cluster.node(&["node-b"]));
        for _ in 0..2 {
            let ((near, mut mid), (mut other, far)) = (duplex(ROOM), duplex(ROOM));
            let ends = async {
                let (dialled, accepted) = tokio::join!(a.tls.dial(near, "node-b"), b.tls.accept(far));
                let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
                talk(&mut dialled, &mut accepted).await;
                dialled.get_ref().1.handshake_kind().unwrap()
            };
            let (kind, moved) = tokio::join!(ends, copy_bidirectional(&mut mid, &mut other));
            seen.insert((format!("{kind:?}"), moved.unwrap()));
        }
    }
    assert_eq!(seen.len(), 2, "one way in full and one resumed: {seen:?}");
}

#[test]
fn pieces_that_do_not_fit_are_refused_before_anybody_is_dialled() {
    let (ours, theirs) = (Cluster::new(), Cluster::new());
    let (a, other) = (ours.node(&["node-a"]), theirs.node(&["node-a"]));
    let twin = ours.node(&["node-a"]);
    let (ca, certificate, key) = (ours.ca.as_bytes(), a.certificate.as_bytes(), a.key.as_bytes());
    let damaged = a.certificate.replace("-----END", "!-----END");
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".as_bytes();
    for (piece, ca, certificate, key, now, part) in [
        (Piece::Ca, &b""[..], certificate, key, NOW, "holds no certificate"),
        (Piece::Ca, a.key.as_bytes(), certificate, key, NOW, "holds no certificate"),
        (Piece::Ca, no_certificate, certificate, key, NOW, "can't be read"),
        (Piece::Certificate, ca, b"", key, NOW, "holds no certificate"),
        (Piece::Certificate, ca, no_certificate, key, NOW, "can't be used for links"),
        (Piece::Certificate, ca, damaged.as_bytes(), key, NOW, "is damaged"),
        (Piece::Certificate, ca, other.certificate.as_bytes(), key, NOW, "not of the CA"),
        (Piece::Certificate, ca, ca, key, NOW, "can't be used for links"),
        (Piece::Certificate, ca, certificate, key, NOW + 2 * YEAR, "expired on 2024-11-13"),
        (Piece::Certificate, ca, certificate, key, 0, "is not valid before 2023-11-14"),
        (Piece::Key, ca, certificate, certificate, NOW, "no private key"),
        (Piece::Key, ca, certificate, twin.key.as_bytes(), NOW, "not the key of"),
        (
            Piece::Key,
            ca,
            certificate,
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            NOW,
            "can't be used",
        ),
    ] {
        let error = LinkTls::from_pem(ca, certificate, key, HandClock::at(NOW).moved(now)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(part), "{part:?} is not in {text:?}");
        assert!(matches!(error, LinkTlsError::Unusable { piece: found, .. } if found == piece), "{text}");
    }
}

/// A node dials and is dialled.
#[test]
fn a_certificate_for_one_direction_is_refused() {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519};
    let new_key = || KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let (ca_key, key) = (new_key(), new_key());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(params, ca_key);
    let loaded = |uses: &[ExtendedKeyUsagePurpose]| {
        let mut params = CertificateParams::new(["node-a".to_owned()]).unwrap();
        params.extended_key_usages = uses.to_vec();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        let (ca, certificate, key) = (ca.as_bytes(), certificate.as_bytes(), key.serialize_pem());
        LinkTls::from_pem(ca, certificate, key.as_bytes(), HandClock::at(NOW))
    };
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    loaded(&both).unwrap();
    for one in &both {
        let text = loaded(std::slice::from_ref(one)).unwrap_err().to_string();
        assert!(text.contains("needs the extended key usages serverAuth and clientAuth"), "{text}");
    }
}

#[test]
fn errors_name_the_file() {
    let dir = std::env::temp_dir().join(format!("multibeam-link-tls-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let (cluster, clock) = (Cluster::new(), HandClock::at(NOW));
    let node = cluster.node(&["node-a"]);
    let path = |name: &str| dir.join(name);
    let files = LinkTlsFiles { ca: path("ca.pem"), certificate: path("a.pem"), key: path("a.key") };
    let good = [(&files.ca, &cluster.ca), (&files.certificate, &node.certificate), (&files.key, &node.key)];
    for (path, content) in good {
        std::fs::write(path, content).unwrap();
    }
    LinkTls::load(&files, clock.clone()).unwrap();
    for ((path, content), setting) in good.into_iter().zip(["ca", "certificate", "key"]) {
        let path_text = path.to_str().unwrap();
        std::fs::write(path, "something else").unwrap();
        let text = LinkTls::load(&files, clock.clone()).unwrap_err().to_string();
        assert!(text.contains(path_text) && text.contains(" in PEM form"), "{text}");
        std::fs::write(path, vec![b'\n'; 65_537]).unwrap();
        let text = LinkTls::load(&files, clock.clone()).unwrap_err().to_string();
        assert!(text.contains(path_text) && text.contains("65536"), "{text}");
        std::fs::remove_file(path).unwrap();
        let text = LinkTls::load(&files, clock.clone()).unwrap_err().to_string();
        let expected = format!("{path_text}: No such file");
        assert!(text.contains(&expected) && text.contains(&format!("[cluster.tls] {setting}")), "{text}");
        std::fs::write(path, content).unwrap();
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn nothing_secret_is_printed() {
    let cluster = Cluster::new();
    let node = cluster.node(&["node-a"]);
    let text = format!("{:?} {:?}", node.tls, cluster.authority);
    assert_eq!(text, "LinkTls { .. } Authority { .. }");
}
