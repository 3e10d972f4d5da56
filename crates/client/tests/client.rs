//! The client as an application uses it, over in-memory streams and paused time.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::{
    Client, Config, ConnectionError, Connector, Event, PublishError, Start, State, SubscribeError, TopicError,
};
use multibeam_wire::{Payload, Seq};
use std::io;
use std::pin::pin;
use std::time::Duration;
use support::{Got, accept, behind, client, config, stored, subscribed_event};
use tokio::io::DuplexStream;
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_publish_resolves_only_on_the_acknowledgement() {
    let (client, mut accepted) = client(config());
    let mut far = accept(&mut accepted).await;
    client.wait_connected().await.unwrap();
    let mut publish = pin!(client.publish("a.b", "body"));
    assert_eq!(far.next_publish().await, (1, None), "in line before it is polled");
    assert!(timeout(SECOND, publish.as_mut()).await.is_err());
    let ack = far.node.acks(1);
    far.say(&ack).await;
    assert_eq!(publish.await, stored());
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_replaced_and_publishes_are_sent_again_in_order() {
    let (client, mut accepted) = client(config());
    let mut far = accept(&mut accepted).await;
    let (first, second) = (client.publish("a.b", [1; 3000]), client.publish("a.c", [2; 10]));
    far.next_publish().await;
    far.next_publish().await;
    drop(far);
    let mut far = accept(&mut accepted).await;
    assert_eq!([far.next_publish().await, far.next_publish().await], [(1, Some(1)), (2, Some(1))]);
    let ack = far.node.acks(2);
    far.say(&ack).await;
    assert_eq!((first.await, second.await), (stored(), stored()));
    let lost = client.status().last_error.unwrap().to_string();
    assert_eq!(lost, "the connection to node:1 was lost: the other side closed it");
    assert_eq!((client.stats().connects, client.stats().publishes_resent), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_publish_waits_for_a_place_and_ends_at_its_deadline() {
    let (client, mut accepted) = client(Config { publish_queue_messages_max: 1, ..config() });
    let mut far = accept(&mut accepted).await;
    let started = Instant::now();
    let (first, mut second) = (client.publish("a.b", "1"), client.publish("a.b", "2"));
    far.next_publish().await;
    assert!(timeout(SECOND, second.accepted()).await.is_err());
    let ack = far.node.acks(1);
    far.say(&ack).await;
    timeout(SECOND, second.accepted()).await.expect("there is a place");
    assert_eq!(first.await, stored());
    assert_eq!(far.next_publish().await, (2, None));
    assert_eq!(second.await, Err(PublishError::Unknown));
    assert_eq!(started.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_acknowledged_after_the_application_took_them() {
    let (client, mut accepted) = client(config());
    let mut subscription = client.subscribe("a.b", Start::New).unwrap();
    let mut far = accept(&mut accepted).await;
    let Some(Got::Subscribe { id, .. }) = far.next().await else { panic!("SUBSCRIBE behind HELLO") };
    let bytes = [far.node.subscribed(id, 0, 0), far.node.delivery(id, 1, 0, b"1")].concat();
    far.say(&bytes).await;
    assert_eq!(subscription.next().await, Some(subscribed_event(0, 0)));
    assert!(matches!(subscription.next().await, Some(Event::Message(_))));
    assert_eq!(subscription.cursor(), Some(behind(1)));
    assert!(timeout(SECOND, far.next()).await.is_err(), "it is still in the hands of the application");
    let started = Instant::now();
    assert!(timeout(2 * SECOND, subscription.next()).await.is_err());
    assert_eq!(far.next().await, Some(Got::Ack));
    assert_eq!(far.node.acked_by_client, Seq(1));
    assert!(started.elapsed() <= 2 * SECOND);
    drop(subscription);
    assert_eq!(far.next().await, Some(Got::Unsubscribe(id)));
}

#[tokio::test(start_paused = true)]
async fn close_says_bye_and_ends_what_waits() {
    let (client, mut accepted) = client(config());
    let mut subscription = client.subscribe("a.b", Start::New).unwrap();
    let mut far = accept(&mut accepted).await;
    client.wait_connected().await.unwrap();
    let publish = client.publish("a.b", "x");
    far.next_publish().await;
    let clone = client.clone();
    let closing = tokio::spawn(async move { clone.close().await });
    assert_eq!(far.next().await, Some(Got::Bye(0)));
    assert_eq!(far.next().await, None);
    for _ in 0..3 {
        let bytes = far.node.frame(&Payload::Heartbeat);
        far.say(&bytes).await;
        tokio::time::sleep(SECOND / 10).await;
        assert!(!closing.is_finished(), "what the node still says is read");
    }
    drop(far);
    closing.await.unwrap();
    assert_eq!(publish.await, Err(PublishError::Unknown));
    assert_eq!(subscription.next().await, None);
    assert_eq!(client.state(), State::Closed);
    assert_eq!(client.publish("a.b", "x").await, Err(PublishError::Closed));
    assert_eq!(client.subscribe("a.b", Start::New).unwrap_err(), SubscribeError::Closed);
    assert!(accepted.recv().await.is_none(), "the connector is gone with the task");
}

#[tokio::test(start_paused = true)]
async fn the_last_clone_ends_the_connection() {
    let (client, mut accepted) = client(config());
    let clone = client.clone();
    let mut far = accept(&mut accepted).await;
    clone.wait_connected().await.unwrap();
    drop(client);
    assert!(timeout(SECOND, far.next()).await.is_err());
    drop(clone);
    assert_eq!(far.next().await, Some(Got::Bye(0)));
    drop(far);
    assert!(accepted.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_server_is_reported_after_one_round() {
    let (client, accepted) = client(Config { servers: vec!["a:1".to_owned(), "b:1".to_owned()], ..config() });
    drop(accepted);
    let error = client.wait_connected().await.unwrap_err();
    assert_eq!(error.to_string(), "can't reach b:1: connection refused");
    assert_eq!(client.status().failures_in_row, 2);
    client.close().await;
    let nowhere = Client::connect(Config { servers: Vec::new(), ..config() }, multibeam_client::TcpConnector);
    assert_eq!(nowhere.wait_connected().await, Err(ConnectionError::NoServer));
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_hangs_is_timed_out_and_can_be_closed() {
    struct Hangs;
    impl Connector for Hangs {
        type Stream = DuplexStream;
        async fn connect(&self, _server: &str) -> io::Result<DuplexStream> {
            std::future::pending().await
        }
    }
    let client = Client::connect(config(), Hangs);
    let started = Instant::now();
    assert!(matches!(client.wait_connected().await, Err(ConnectionError::ConnectTimeout { .. })));
    assert_eq!(started.elapsed(), 5 * SECOND);
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_blocked_socket_does_not_make_the_task_spin() {
    let (client, mut accepted) = client(config());
    let far = accept(&mut accepted).await;
    client.wait_connected().await.unwrap();
    let publish = client.publish("a.b", vec![0; 60_000]);
    // Nobody reads: the node counts as dead after three intervals, and time goes on until then.
    assert_eq!(publish.await, Err(PublishError::Unknown));
    let version = client.status().version;
    let status = client.status_after(version).await;
    assert!(matches!(status.last_error, Some(ConnectionError::Silent { .. })), "{status:?}");
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_are_refused_at_once() {
    let (client, _accepted) = client(config());
    assert_eq!(client.publish("a..b", "x").await, Err(TopicError::EmptySegment.into()));
    let long = client.publish("a", vec![0; 70_000]).await.unwrap_err();
    assert_eq!(long, PublishError::BodyTooLong { len: 70_000, len_max: 65_024 });
    assert!(long.is_definite());
    assert_eq!(client.subscribe("", Start::New).unwrap_err(), SubscribeError::Topic(TopicError::Empty));
}

#[tokio::test]
async fn tcp_is_refused_with_one_clear_line() {
    // Bound, so that nobody else listens there; who does not listen refuses.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = taken.local_addr().unwrap().to_string();
    let client = Client::connect(Config::new(server.clone(), 1), multibeam_client::TcpConnector);
    let error = client.wait_connected().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("can't reach {server}: Connection refused")), "{error}");
}
