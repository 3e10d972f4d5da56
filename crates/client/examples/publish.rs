//! Publishes five messages, all under way at once, and prints where each is stored.
//!
//! ```text
//!  cargo run -p multibeam-client --example publish -- [TOPIC] [HOST:PORT]
//! ```

use multibeam_client::{Client, Config, Publish, TcpConnector};
use std::error::Error;
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let topic = args.next().unwrap_or_else(|| "alarm.fire".to_owned());
    let server = args.next().unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let seed = getrandom::u64().expect("the system has random numbers");
    let client = Client::connect(Config::new(server, seed), TcpConnector);
    client.wait_connected().await?;

    let mut under_way = Vec::new();
    for number in 1..=5 {
        // Worth nothing after an hour; and whoever calls this has its answer within ten seconds.
        let message = Publish::to(&topic, format!("message {number}"))
            .ttl(Duration::from_secs(3600))
            .deadline(Duration::from_secs(10));
        let mut publishing = client.publish_with(message);
        // Holds back a publisher that is faster than the cluster.
        publishing.accepted().await;
        under_way.push((number, publishing));
    }
    for (number, publishing) in under_way {
        match publishing.await {
            Ok(published) => match published.receipt() {
                Some(receipt) => println!(
                    "message {number} is stored in partition {} at {}, {} copies",
                    receipt.partition, receipt.position, receipt.copies
                ),
                None => println!("message {number} is stored"),
            },
            Err(error) if error.is_definite() => println!("message {number} is not stored: {error}"),
            Err(error) => println!("message {number} may be stored: {error}"),
        }
    }
    client.close().await;
    Ok(())
}
