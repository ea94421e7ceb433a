//! A server of chat completions in small: it looks at the picture it is sent, says its size, and
//! misbehaves on demand. It can be killed and started again on the same port.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// The name of its only model.
pub const MODEL: &str = "tiny-vlm";
/// How long what a test waits for may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What it does with a question.
pub enum Reply {
    /// Says the size of the picture, as `100x80`.
    Size,
    /// Says this.
    Text(String),
    /// Says the size, as one that ran out of tokens.
    Unfinished,
    /// A status with the words of an error, and `Retry-After` in seconds.
    Status(u16, &'static str, Option<u64>),
    /// Closes the connection without a word.
    Cut,
    /// Answers once so many questions are with it, or none comes any more.
    Together(usize),
    /// Holds the question until it is killed.
    Hold,
}

/// A question, as it came.
#[derive(Debug, Clone)]
pub struct Question {
    /// How many came before it; `usize::MAX` for one of the program's own, which are not counted.
    pub number: usize,
    /// `[width, height]` of its picture.
    pub size: [u32; 2],
    pub body: Value,
    pub authorization: Option<String>,
}

type Script = Box<dyn Fn(&Question) -> Reply + Send + Sync>;

#[derive(Default)]
struct Seen {
    questions: Vec<Question>,
    now: usize,
    most: usize,
    open: Vec<TcpStream>,
}

struct Shared {
    script: Script,
    seen: Mutex<Seen>,
    changed: Condvar,
    up: AtomicBool,
}

/// The server. It ends when dropped.
pub struct Completions {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Completions {
    pub fn start(script: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            seen: Mutex::default(),
            changed: Condvar::new(),
            up: AtomicBool::new(false),
        });
        let mut server = Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            shared,
            accepting: None,
        };
        server.come();
        server
    }

    /// Starts it, again where it was killed, on the same port.
    pub fn come(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        self.shared.up.store(true, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !shared.up.load(Ordering::SeqCst) {
                    return;
                }
                shared.lock().open.push(stream.try_clone().unwrap());
                let shared = Arc::clone(&shared);
                thread::spawn(move || drop(shared.serve(stream)));
            }
        }));
    }

    /// Cuts every connection and listens no more.
    pub fn kill(&mut self) {
        self.shared.up.store(false, Ordering::SeqCst);
        drop(TcpStream::connect(self.address)); // wakes the listener up
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
        for stream in self.shared.lock().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }

    /// `http://127.0.0.1:port/v1`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The settings that make it the captioner `far`.
    pub fn sets(&self) -> Vec<String> {
        let sets = [
            format!("models.far.endpoint={}", self.url()),
            format!("models.far.model={MODEL}"),
            "stages.caption.model=far".to_owned(),
        ];
        sets.into_iter()
            .flat_map(|set| ["--set".to_owned(), set])
            .collect()
    }

    /// The questions so far, in the order they came.
    pub fn questions(&self) -> Vec<Question> {
        self.shared.lock().questions.clone()
    }

    /// The most questions that were with it at the same time.
    pub fn most(&self) -> usize {
        self.shared.lock().most
    }

    /// Waits until so many questions came.
    pub fn until(&self, count: usize) {
        let seen = self.shared.lock();
        let fewer = |seen: &mut Seen| seen.questions.len() < count;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(seen, PATIENCE, fewer);
        assert!(
            !waited.unwrap().1.timed_out(),
            "{count} questions never came"
        );
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut first, mut length, mut authorization) = (String::new(), 0, None);
        reader.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if first.starts_with("GET /v1/models ") {
            let listed = json!({ "data": [{ "id": MODEL, "object": "model", "created": 7 }] });
            return reply(&mut stream, 200, None, &listed);
        }
        if !first.starts_with("POST /v1/chat/completions ") {
            return reply(&mut stream, 404, None, &json!({ "detail": "Not Found" }));
        }
        let body: Value = serde_json::from_slice(&body).unwrap();
        let parts = &body["messages"][0]["content"];
        let data = parts[0]["image_url"]["url"].as_str().unwrap();
        let jpeg = data.strip_prefix("data:image/jpeg;base64,").unwrap();
        let picture = image::load_from_memory(&STANDARD.decode(jpeg).unwrap()).unwrap();
        let own = parts[1]["text"] == "Describe this image." && body["max_tokens"] == 4;
        let question = {
            let mut seen = self.lock();
            let question = Question {
                number: if own {
                    usize::MAX
                } else {
                    seen.questions.len()
                },
                size: [picture.width(), picture.height()],
                body,
                authorization,
            };
            if !own {
                seen.questions.push(question.clone());
            }
            seen.now += 1;
            seen.most = seen.most.max(seen.now);
            question
        };
        self.changed.notify_all();
        let done = self.answer(&mut stream, &question);
        self.lock().now -= 1;
        self.changed.notify_all();
        let _ = stream.shutdown(Shutdown::Both);
        done
    }

    fn answer(&self, stream: &mut TcpStream, question: &Question) -> std::io::Result<()> {
        let [width, height] = question.size;
        let mut finish = "stop";
        let mut text = format!(" {width}x{height}");
        match (self.script)(question) {
            Reply::Cut => return Ok(()),
            Reply::Status(status, words, after) => {
                let error = json!({ "error": { "message": words, "type": "x" } });
                return reply(stream, status, after, &error);
            }
            Reply::Hold => {
                let up = |_: &mut Seen| self.up.load(Ordering::SeqCst);
                drop(self.changed.wait_timeout_while(self.lock(), PATIENCE, up));
                return Ok(());
            }
            Reply::Together(count) => {
                let alone = |seen: &mut Seen| seen.now < count;
                let second = Duration::from_secs(1);
                drop(self.changed.wait_timeout_while(self.lock(), second, alone));
            }
            Reply::Unfinished => finish = "length",
            Reply::Text(own) => text = own,
            Reply::Size => {}
        }
        let answer = json!({
            "id": "x",
            "object": "chat.completion",
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": text },
                "finish_reason": finish,
            }],
            "usage": { "prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14 },
        });
        reply(stream, 200, None, &answer)
    }
}

fn reply(
    stream: &mut TcpStream,
    status: u16,
    after: Option<u64>,
    body: &Value,
) -> std::io::Result<()> {
    let after = after
        .map(|seconds| format!("retry-after: {seconds}\r\n"))
        .unwrap_or_default();
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\nconnection: close\r\n{after}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
