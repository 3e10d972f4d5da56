//! Publishes three messages and handles two, with a cursor in a file: the next run goes on with the third,
//! also after a crash.
//!
//! ```text
//!  cargo run -p multibeam-client --example resume_from_file -- [FOLDER] [HOST:PORT]
//! ```

use multibeam_client::{Client, Config, Event, FileCursorStore, Start, TcpConnector};
use std::error::Error;
use std::time::Duration;

const TOPIC: &str = "alarm.resumed";

/// How long it waits for a message before it stops.
const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or_else(|| "cursors".to_owned());
    let server = args.next().unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let seed = getrandom::u64().expect("the system has random numbers");
    let client = Client::connect(Config::new(server, seed), TcpConnector);
    client.wait_connected().await?;
    for text in ["one", "two", "three"] {
        client.publish(TOPIC, text).await?;
    }

    // Where the file is torn, or belongs to another topic, this is an error and not a new beginning.
    let store = FileCursorStore::open(&folder)?;
    let mut events = client.subscribe_stored("example", TOPIC, Start::First, store).await?;
    let mut handled = 0;
    while handled < 2 {
        let Ok(next) = tokio::time::timeout(PATIENCE, events.next()).await else { break };
        match next {
            Ok(Some(Event::Message(message))) => {
                println!("{}: {}", message.position, String::from_utf8_lossy(&message.body));
                handled += 1;
            }
            Ok(Some(Event::Subscribed { parts })) => println!("beginning behind {}", parts[0].from),
            Ok(Some(Event::Gap { from, to, .. })) => println!("nothing is left behind {from} up to {to}"),
            Ok(Some(other)) => println!("{other:?}"),
            Ok(None) => break,
            Err(error) => println!("the cursor was not saved, and will be tried again: {error}"),
        }
    }
    events.close().await?;
    println!("handled {handled}; the cursor is in {folder}/example.cursor");
    client.close().await;
    Ok(())
}
