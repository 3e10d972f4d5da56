//! Messages for users: one publish names many of them, and each gets it on a topic of its own.
//!
//! ```text
//!  cargo run -p multibeam-client --example user_messages -- [HOST:PORT]
//! ```

use multibeam_client::{Client, Config, Event, Publish, Start, Subscription, TcpConnector};
use std::error::Error;
use std::time::Duration;

const USERS: [&str; 3] = ["41", "42", "43"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let connect = || {
        let seed = getrandom::u64().expect("the system has random numbers");
        Client::connect(Config::new(&server, seed), TcpConnector)
    };
    // A connection for each user; more of one user would get the same.
    let mut devices = Vec::new();
    for user in USERS {
        let client = connect();
        client.wait_connected().await?;
        let messages = client.subscribe(&format!("user.{user}.msg"), Start::New)?;
        devices.push((user, subscribed(messages).await?, client));
    }

    let sender = connect();
    let invitation =
        Publish::to_each("user.*.msg", [USERS[0], USERS[1]], "party at eight").ttl(Duration::from_secs(60));
    let published = sender.publish_with(invitation).await?;
    println!("stored for users {:?}, {} receipts", &USERS[..2], published.receipts.len());
    for (user, messages, _client) in &mut devices {
        match tokio::time::timeout(Duration::from_secs(1), messages.next()).await {
            Ok(Some(Event::Message(message))) => {
                println!("user {user} got: {}", String::from_utf8_lossy(&message.body));
            }
            Ok(other) => println!("user {user}: {other:?}"),
            Err(_) => println!("user {user} was not invited"),
        }
    }
    Ok(())
}

/// The subscription once it is served: what is published from then on comes.
async fn subscribed(mut messages: Subscription) -> Result<Subscription, Box<dyn Error>> {
    match messages.next().await {
        Some(Event::Subscribed { .. }) => Ok(messages),
        other => Err(format!("not subscribed: {other:?}").into()),
    }
}
