//! Handles messages in tasks, which end in any order and may fail: a message whose task fails comes
//! again, and none counts as handled before its task says so.
//!
//! ```text
//!  cargo run -p multibeam-client --example manual_acks -- [HOST:PORT]
//! ```

use multibeam_client::{Client, Config, Event, Message, Start, TcpConnector};
use std::error::Error;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const TOPIC: &str = "alarm.work";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let seed = getrandom::u64().expect("the system has random numbers");
    let client = Client::connect(Config::new(server, seed), TcpConnector);
    client.wait_connected().await?;

    let mut events = client.subscribe(TOPIC, Start::New)?.with_manual_acks();
    let Some(Event::Subscribed { .. }) = events.next().await else { return Err("not subscribed".into()) };
    for number in 1..=5 {
        client.publish(TOPIC, number.to_string()).await?;
    }
    while let Ok(Some(event)) = timeout(Duration::from_secs(1), events.next()).await {
        if let Event::Message(message) = event {
            tokio::spawn(work(message));
        }
    }
    let cursor = events.cursor_handled().ok_or("nothing was handled")?;
    println!("all is handled up to {cursor}; given back: {}", client.stats().redeliveries);
    client.close().await;
    Ok(())
}

/// The later ones are faster; the third fails the first time.
async fn work(message: Message) {
    let number: u64 = String::from_utf8_lossy(&message.body).parse().unwrap_or(0);
    sleep(Duration::from_millis(600 - 100 * number)).await;
    if number == 3 && message.attempt == 1 {
        println!("{number} fails");
        return;
    }
    println!("{number} is done, at attempt {}", message.attempt);
    message.ack();
}
