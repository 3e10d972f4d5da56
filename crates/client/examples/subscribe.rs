//! Follows a topic or a filter from the oldest message that is kept, until it is stopped.
//!
//! ```text
//!  cargo run -p multibeam-client --example subscribe -- [TOPIC] [HOST:PORT]
//! ```

use multibeam_client::{Client, Config, Event, Start, TcpConnector};
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let topic = args.next().unwrap_or_else(|| "alarm.fire".to_owned());
    let server = args.next().unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let seed = getrandom::u64().expect("the system has random numbers");
    let client = Client::connect(Config::new(server, seed), TcpConnector);
    client.wait_connected().await?;

    let mut events = client.subscribe(&topic, Start::First)?;
    while let Some(event) = events.next().await {
        match event {
            Event::Subscribed { parts } => {
                let replayed: u64 = parts.iter().map(|part| part.replay_count).sum();
                println!("following {topic}: {replayed} messages were there before");
            }
            Event::Message(message) => {
                let text = String::from_utf8_lossy(&message.body);
                println!("{} at {}: {text}", message.topic, message.position);
            }
            Event::Gap { from, to, reason, .. } => {
                println!("nothing behind {from} up to {to} will come: {}", reason.label());
            }
            Event::Ended(refusal) => println!("the node refuses: {refusal}"),
            _ => {}
        }
    }
    Ok(())
}
