//! Asks the admin server of a node, once a connection.
//!
//! Each question has a time-out; each failure is one sentence that names the address. What a node refuses it says
//! itself, in the field `error` of the JSON it answers.

use super::{Failure, values};
use axum::body::{Body, to_bytes};
use clap::Args;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Bytes of an answer: the state of the largest cluster is some 60 KB, and what is larger is none of ours.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What all commands that ask an admin server have in common.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct AdminArgs {
    /// Where the node's admin server listens.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7480", value_parser = values::address)]
    admin: SocketAddr,
    /// Gives up when it takes longer, such as 0.5, 30s or 5m.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = values::span)]
    timeout: Duration,
}

/// What to ask for; only a change has a body, and is a POST.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// GET of this path.
    Look(&'static str),
    /// POST of this JSON to this path.
    Change(&'static str, Value),
}

/// What a node answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: String,
}

impl Answer {
    /// Whether the node did as it was asked.
    pub(super) fn is_good(&self) -> bool {
        self.status.is_success()
    }

    /// A word of the body, if that is JSON and has it.
    pub(super) fn word(&self, key: &str) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body[key].as_str().map(str::to_owned)
    }

    /// What the body says, if the node did as it was asked.
    pub(super) fn json<T: DeserializeOwned>(self, node: SocketAddr) -> Result<T, String> {
        let body = self.good(node)?;
        serde_json::from_str(&body).map_err(|error| format!("{node} is of another version: {error}"))
    }

    /// The body, if the node did as it was asked; else what it says to that.
    pub(super) fn good(self, node: SocketAddr) -> Result<String, String> {
        if self.is_good() {
            return Ok(self.body);
        }
        let said = self.word("error");
        Err(said.unwrap_or_else(|| {
            format!("{node} answers {}: is that the admin server of a node of this version?", self.status)
        }))
    }
}

/// Asks and waits for the answer, within the time-out; the body if the node did as it was asked.
pub(super) fn ask(args: AdminArgs, question: &Question) -> Result<String, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't start: {error}"))?;
    let answer = runtime.block_on(request(args.admin, args.timeout, question))?;
    Ok(answer.good(args.admin)?)
}

/// Asks a node.
///
/// # Errors
/// One sentence: nobody listens there, it is no admin server, or it takes longer than `timeout`.
pub(super) async fn request(
    node: SocketAddr,
    timeout: Duration,
    question: &Question,
) -> Result<Answer, String> {
    let seconds = timeout.as_secs_f64();
    tokio::time::timeout(timeout, exchange(node, question)).await.unwrap_or_else(|_| {
        Err(format!(
            "{node} did not answer within {seconds} s: is that the admin server of a node? (--admin)"
        ))
    })
}

async fn exchange(node: SocketAddr, question: &Question) -> Result<Answer, String> {
    Asking::open(node).await?.ask(question).await
}

/// A connection to an admin server, to ask several times.
pub(super) struct Asking {
    node: SocketAddr,
    sender: http1::SendRequest<Body>,
    connection: http1::Connection<TokioIo<TcpStream>, Body>,
}

impl Asking {
    /// Connects.
    ///
    /// # Errors
    /// One sentence: nobody listens there, or it is no admin server.
    pub(super) async fn open(node: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(node).await.map_err(|error| {
            let why = if error.kind() == ErrorKind::ConnectionRefused {
                format!("nobody listens at {node}")
            } else {
                format!("can't connect to {node}: {error}")
            };
            format!("{why}; is a node running there? (--admin IP:PORT chooses another)")
        })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| strange(node, &error))?;
        Ok(Self { node, sender, connection })
    }

    /// Whom it asks.
    pub(super) const fn node(&self) -> SocketAddr {
        self.node
    }

    /// Asks, and waits for as long as it takes.
    ///
    /// # Errors
    /// One sentence; nothing can be asked after it.
    pub(super) async fn ask(&mut self, question: &Question) -> Result<Answer, String> {
        let Self { node, sender, connection } = self;
        let answer = async {
            sender.ready().await.map_err(|error| strange(*node, &error))?;
            let answer = sender.send_request(question.request(*node)).await;
            let answer = answer.map_err(|error| strange(*node, &error))?;
            let status = answer.status();
            let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await;
            let body = body.map_err(|error| strange(*node, &error))?;
            Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
        };
        // The connection has to be driven, and ends by itself only once nobody can ask any more.
        tokio::select! {
            biased;
            answer = answer => answer,
            Err(error) = connection => Err(strange(*node, &error)),
        }
    }
}

fn strange(node: SocketAddr, error: &dyn std::fmt::Display) -> String {
    format!("what listens at {node} is no admin server of a node ({error}): choose another with --admin")
}

impl Question {
    fn request(&self, node: SocketAddr) -> Request<Body> {
        let (method, path, body) = match self {
            Self::Look(path) => (Method::GET, path, Body::empty()),
            Self::Change(path, body) => (Method::POST, path, Body::from(body.to_string())),
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = hyper::Uri::from_static(path);
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
        // An address is made of digits and punctuation.
        if let Ok(host) = node.to_string().parse() {
            headers.insert(HOST, host);
        }
        request
    }
}
