//! Subscriptions whose cursor is saved, and messages that are acknowledged by hand, as an application
//! uses them.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::{
    Client, Config, Cursor, CursorStore, CursorStoreError, Event, MemoryCursorStore, Message, Publish,
    SavedCursor, Start, StoredSubscription, SubscribeError, Subscription,
};
use multibeam_wire::SubscriptionId;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{FarEnd, Got, accept, behind, client, config};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// Counts saves, and fails when it is told to.
#[derive(Clone, Default)]
struct Watched {
    store: MemoryCursorStore,
    saves: Arc<Mutex<Vec<(Instant, Cursor)>>>,
    broken: Arc<Mutex<bool>>,
}

impl Watched {
    fn saves(&self) -> Vec<String> {
        self.saves.lock().unwrap().iter().map(|(_, cursor)| cursor.to_string()).collect()
    }

    fn is_broken(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }
}

impl CursorStore for Watched {
    async fn load(&self, name: &str) -> Result<Option<SavedCursor>, CursorStoreError> {
        self.store.load(name).await
    }

    async fn save(&self, name: &str, saved: &SavedCursor) -> Result<(), CursorStoreError> {
        if *self.broken.lock().unwrap() {
            return Err(CursorStoreError::Unavailable { detail: "the disk is full".to_owned() });
        }
        self.saves.lock().unwrap().push((Instant::now(), saved.cursor.clone()));
        self.store.save(name, saved).await
    }
}

async fn subscription_of(far: &mut FarEnd) -> (SubscriptionId, Start) {
    match far.next().await {
        Some(Got::Subscribe { id, start, .. }) => (id, start),
        other => panic!("no SUBSCRIBE but {other:?}"),
    }
}

async fn deliver(far: &mut FarEnd, id: SubscriptionId, offsets: std::ops::RangeInclusive<u64>) {
    for offset in offsets {
        let bytes = far.node.delivery(id, offset, offset - 1, b"body");
        far.say(&bytes).await;
    }
}

/// A client with a stored subscription that begins at 0.
async fn follow(store: &Watched) -> (Client, FarEnd, StoredSubscription, SubscriptionId) {
    let (client, mut accepted) = client(config());
    let mut far = accept(&mut accepted).await;
    let mut stored = client.subscribe_stored("me", "a.b", Start::New, store.clone()).await.unwrap();
    let (id, start) = subscription_of(&mut far).await;
    assert_eq!(start, Start::New);
    let bytes = far.node.subscribed(id, 0, 0);
    far.say(&bytes).await;
    assert!(matches!(stored.next().await, Ok(Some(Event::Subscribed { .. }))));
    // The test goes on without it, but the client must find no other.
    tokio::spawn(async move { accepted.recv().await });
    (client, far, stored, id)
}

async fn message(stored: &mut StoredSubscription) -> Message {
    match stored.next().await {
        Ok(Some(Event::Message(message))) => message,
        other => panic!("no message but {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_cursor_saved_is_that_of_what_is_handled_and_the_next_process_goes_on_there() {
    let store = Watched::default();
    let (client_1, mut far, mut stored, id) = follow(&store).await;
    deliver(&mut far, id, 1..=3).await;
    message(&mut stored).await;
    message(&mut stored).await;
    sleep(SECOND).await;
    assert_eq!(store.saves().last().unwrap(), "1:1", "the second is still in hand");
    // A crash: neither drop nor close runs.
    std::mem::forget((stored, client_1));
    let (client_2, mut accepted) = client(config());
    let mut far = accept(&mut accepted).await;
    let _stored = client_2.subscribe_stored("me", "a.b", Start::New, store).await.unwrap();
    assert_eq!(subscription_of(&mut far).await.1, Start::After(behind(1)));
}

#[tokio::test(start_paused = true)]
async fn saves_are_coalesced_to_one_an_interval() {
    let store = Watched::default();
    let (_client, mut far, mut stored, id) = follow(&store).await;
    let began = Instant::now();
    for offset in 1..=100 {
        deliver(&mut far, id, offset..=offset).await;
        message(&mut stored).await;
        sleep(SECOND / 100).await;
    }
    assert!(timeout(SECOND, stored.next()).await.is_err());
    let took = began.elapsed();
    let saves = store.saves.lock().unwrap().clone();
    assert!(saves.windows(2).all(|pair| pair[1].0 - pair[0].0 >= SECOND / 5), "{saves:?}");
    assert!(saves.len() >= 4 && saves.len() as u128 <= took.as_millis() / 200 + 1, "{saves:?}");
    assert_eq!(saves.last().unwrap().1, behind(100));
}

#[tokio::test(start_paused = true)]
async fn close_saves_at_once_and_handles_what_is_in_hand() {
    let store = Watched::default();
    let (_client, mut far, mut stored, id) = follow(&store).await;
    deliver(&mut far, id, 1..=2).await;
    message(&mut stored).await;
    message(&mut stored).await;
    let began = Instant::now();
    stored.close().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(store.saves().last().unwrap(), "1:2");
    assert_eq!(far.next().await, Some(Got::Unsubscribe(id)));
}

#[tokio::test(start_paused = true)]
async fn dropping_it_saves_what_is_handled_but_not_what_is_in_hand() {
    let store = Watched::default();
    let (client, mut far, mut stored, id) = follow(&store).await;
    deliver(&mut far, id, 1..=2).await;
    message(&mut stored).await;
    message(&mut stored).await;
    // Also behind the end of the client.
    client.close().await;
    drop(stored);
    sleep(SECOND / 1000).await;
    assert_eq!(store.saves().last().unwrap(), "1:1");
}

#[tokio::test(start_paused = true)]
async fn a_save_that_fails_is_told_and_tried_again() {
    let store = Watched::default();
    let (_client, mut far, mut stored, id) = follow(&store).await;
    store.is_broken(true);
    deliver(&mut far, id, 1..=2).await;
    message(&mut stored).await;
    message(&mut stored).await;
    // While nothing comes, and while much does.
    let error = timeout(SECOND, stored.next()).await.unwrap().unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.to_string(), "the disk is full");
    deliver(&mut far, id, 3..=9).await;
    sleep(SECOND).await;
    assert!(stored.next().await.is_err());
    assert_eq!(message(&mut stored).await.position.offset.0, 3, "nothing is lost by it");
    store.is_broken(false);
    sleep(SECOND).await;
    // The error from before, then none any more.
    while stored.next().await.is_err() {}
    sleep(SECOND).await;
    assert_eq!(store.saves().last().unwrap(), "1:3");
    store.is_broken(true);
    assert!(stored.close().await.is_err(), "the last save must not fail in silence");
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_can_not_be_loaded_is_an_error() {
    struct Broken;
    impl CursorStore for Broken {
        async fn load(&self, _name: &str) -> Result<Option<SavedCursor>, CursorStoreError> {
            Err(CursorStoreError::Torn { place: "here".to_owned() })
        }
        async fn save(&self, _name: &str, _saved: &SavedCursor) -> Result<(), CursorStoreError> {
            Ok(())
        }
    }
    let (client, _accepted) = client(config());
    let error = client.subscribe_stored("me", "a.b", Start::New, Broken).await.unwrap_err();
    assert!(matches!(error, SubscribeError::Store(CursorStoreError::Torn { .. })));
    // Nor one that belongs to something else.
    let store = MemoryCursorStore::new();
    let saved = SavedCursor { topic: "a.c".to_owned(), cursor: behind(7) };
    store.save("me", &saved).await.unwrap();
    let error = client.subscribe_stored("me", "a.b", Start::New, store.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), "me holds the cursor of a.c, not of a.b");
    // Nor one of the wrong kind.
    let saved = SavedCursor { topic: "a.>".to_owned(), cursor: behind(7) };
    store.save("me", &saved).await.unwrap();
    let error = client.subscribe_stored("me", "a.>", Start::New, store).await.unwrap_err();
    assert_eq!(error, SubscribeError::CursorMismatch);
}

#[tokio::test(start_paused = true)]
async fn messages_acknowledged_by_other_tasks_move_the_saved_cursor_over_the_prefix() {
    let store = Watched::default();
    let (_client, mut far, stored, id) = follow(&store).await;
    let mut stored = stored.with_manual_acks();
    deliver(&mut far, id, 1..=3).await;
    let (first, second, third) =
        (message(&mut stored).await, message(&mut stored).await, message(&mut stored).await);
    tokio::spawn(async move { second.ack() });
    sleep(SECOND).await;
    assert_eq!(store.saves().last().unwrap(), "1:0");
    tokio::spawn(async move {
        sleep(SECOND).await;
        first.ack();
    });
    sleep(2 * SECOND).await;
    assert_eq!(store.saves().last().unwrap(), "1:2", "nobody came for more, and it is saved all the same");
    drop(third);
    let again = message(&mut stored).await;
    assert_eq!((again.position.offset.0, again.attempt), (3, 2));
    stored.close().await.unwrap();
    assert_eq!(store.saves().last().unwrap(), "1:2");
    again.ack();
}

async fn next_message(subscription: &mut Subscription) -> Message {
    match subscription.next().await {
        Some(Event::Message(message)) => message,
        other => panic!("no message but {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_gives_its_message_back_and_wakes_who_waits() {
    let (client, mut accepted) = client(config());
    let mut far = accept(&mut accepted).await;
    let mut subscription = client.subscribe("a.b", Start::New).unwrap().with_manual_acks();
    let (id, _) = subscription_of(&mut far).await;
    let bytes = far.node.subscribed(id, 0, 0);
    far.say(&bytes).await;
    deliver(&mut far, id, 1..=1).await;
    assert!(matches!(subscription.next().await, Some(Event::Subscribed { .. })));
    let message = next_message(&mut subscription).await;
    let copy = message.clone();
    tokio::spawn(async move {
        sleep(SECOND).await;
        let _in_hand = message;
        panic!("a task that fails, as this test wants it to");
    });
    let began = Instant::now();
    let again = timeout(2 * SECOND, next_message(&mut subscription)).await.expect("it comes again");
    assert_eq!(began.elapsed(), SECOND, "at once");
    assert_eq!((again.position, again.attempt), (copy.position, 2));
    copy.ack();
    assert_eq!(subscription.cursor_handled(), Some(behind(0)), "a copy has no right to acknowledge");
    let body = Arc::clone(&again.body);
    again.ack();
    assert_eq!((&*body, subscription.cursor_handled()), (&b"body"[..], Some(behind(1))));
}

#[tokio::test(start_paused = true)]
async fn system_messages_are_followed_by_one_at_a_time() {
    let (client, mut accepted) = client(config());
    let system = client.system().unwrap();
    assert_eq!(client.system().unwrap_err(), SubscribeError::SystemTaken);
    drop(system);
    let mut system = client.system().unwrap();
    let mut far = accept(&mut accepted).await;
    let part = far.node.part(1, 4, 4);
    let bytes = far.node.subscribed_to(SubscriptionId::SYSTEM, &[part]);
    far.say(&bytes).await;
    let bytes = far.node.delivery_of(part.channel, "sys.news", 5, 4);
    far.say(&bytes).await;
    assert!(matches!(system.next().await, Some(Event::Subscribed { .. })));
    assert_eq!(next_message(&mut system).await.topic.as_str(), "sys.news");
}

/// Held by `accepted`, woken when there is room; and whoever does not want to wait gets the message back.
#[tokio::test(start_paused = true)]
async fn a_fast_publisher_is_held_and_nothing_is_dropped() {
    let (client, mut accepted) = client(Config { publish_queue_messages_max: 4, ..config() });
    let mut far = accept(&mut accepted).await;
    let publisher = {
        let client = client.clone();
        tokio::spawn(async move {
            let mut publishing = Vec::new();
            for number in 0..20 {
                let mut publish = client.publish("a.b", number.to_string());
                publish.accepted().await;
                publishing.push(publish);
            }
            for publish in publishing {
                publish.await.unwrap();
            }
        })
    };
    let mut got = 0;
    while got < 20 {
        sleep(SECOND / 10).await;
        let full = client.try_publish(Publish::to("a.b", "now"));
        assert!(got >= 16 || full.is_err(), "after {got}");
        drop(full);
        while let Ok((number, _)) = timeout(SECOND / 100, far.next_publish()).await {
            got = number;
        }
        assert!(got <= 20 && !publisher.is_finished());
        let ack = far.node.acks(u32::try_from(got).unwrap());
        far.say(&ack).await;
    }
    publisher.await.unwrap();
    let last = client.try_publish(Publish::to("a.b", "now")).unwrap();
    assert_eq!(far.next_publish().await.0, 21);
    let ack = far.node.acks(21);
    far.say(&ack).await;
    last.await.unwrap();
}
