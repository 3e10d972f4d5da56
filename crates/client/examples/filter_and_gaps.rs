//! Follows all alarms, cuts the cursor short, and is told what is missing.
//!
//! ```text
//!  cargo run -p multibeam-client --example filter_and_gaps -- [HOST:PORT]
//! ```

use multibeam_client::{Client, Config, Cursor, Event, Position, Start, TcpConnector};
use std::error::Error;
use std::time::Duration;

const FILTER: &str = "alarm.*";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let seed = getrandom::u64().expect("the system has random numbers");
    let client = Client::connect(Config::new(server, seed), TcpConnector);
    client.wait_connected().await?;

    let cursor = follow(&client, Start::New).await?.ok_or("no partition")?;
    println!("stopped behind {cursor}; three more are published meanwhile");
    for topic in ["alarm.fire", "alarm.water", "alarm.fire"] {
        client.publish(topic, "meanwhile").await?;
    }
    println!("going on behind {cursor}: nothing is missing");
    follow(&client, cursor.clone().into()).await?;

    // A cursor of a generation that is gone: the node can't know what was behind it, and says so.
    let gone = cursor.parts().map(|(partition, _)| (partition, Position::new(0, 0)));
    let gone = Cursor::of_filter(gone)?;
    println!("going on behind {gone}: what is missing comes as a gap, in its place");
    follow(&client, gone.into()).await?;
    Ok(())
}

/// Prints what comes until nothing comes for a second, and says where it stands.
async fn follow(client: &Client, start: Start) -> Result<Option<Cursor>, Box<dyn Error>> {
    let mut events = client.subscribe(FILTER, start)?;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(1), events.next()).await {
        match event {
            Event::Subscribed { parts } => println!("  {FILTER} lies in {} partitions", parts.len()),
            Event::Message(it) => println!("  {} in {} at {}", it.topic, it.partition, it.position),
            Event::Gap { partition, from, to, reason } => {
                println!("  gap in {partition} behind {from} up to {to}: {}", reason.label());
            }
            Event::Ended(refusal) => return Err(refusal.into()),
            _ => {}
        }
    }
    Ok(events.cursor())
}
