//! What can go wrong in a stage, and what is to be done about it.

use std::{fmt, time::Duration};

/// The closed list of dead-letter reasons (CONTRACTS.md, `vila2-reason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The record is no request, or a request that nothing here can answer as it stands.
    BadRequest,
    /// The URL's scheme is not fetched here.
    UnsupportedScheme,
    /// The host, or a redirect, leads to an address that is not allowed.
    BlockedAddress,
    /// No complete answer in time.
    FetchTimeout,
    /// The server answered with a status other than success.
    FetchStatus,
    /// The connection or the protocol failed.
    FetchFailed,
    /// The body, or the picture in it, has more bytes than allowed.
    TooLarge,
    /// The server asks not to be used for this.
    OptedOut,
    /// The body is no picture of a known format.
    UnsupportedFormat,
    /// The picture is damaged.
    CorruptImage,
    /// The picture ends before its end.
    TruncatedImage,
    /// The picture has more pixels than allowed.
    TooManyPixels,
    /// A model that must answer failed on this record.
    ModelFailed,
    /// The caption is what a rule does not let through.
    Rule,
    /// The picture is too narrow, or too long for its width.
    TooSmall,
    /// The answer has more bytes than the broker takes.
    OutputTooLarge,
    /// The record ran out of time.
    Stuck,
}

impl Reason {
    /// Every reason, in the contract's order.
    pub const ALL: [Self; 17] = [
        Self::BadRequest,
        Self::UnsupportedScheme,
        Self::BlockedAddress,
        Self::FetchTimeout,
        Self::FetchStatus,
        Self::FetchFailed,
        Self::TooLarge,
        Self::OptedOut,
        Self::UnsupportedFormat,
        Self::CorruptImage,
        Self::TruncatedImage,
        Self::TooManyPixels,
        Self::ModelFailed,
        Self::Rule,
        Self::TooSmall,
        Self::OutputTooLarge,
        Self::Stuck,
    ];

    /// The word in the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::BlockedAddress => "blocked_address",
            Self::FetchTimeout => "fetch_timeout",
            Self::FetchStatus => "fetch_status",
            Self::FetchFailed => "fetch_failed",
            Self::TooLarge => "too_large",
            Self::OptedOut => "opted_out",
            Self::UnsupportedFormat => "unsupported_format",
            Self::CorruptImage => "corrupt_image",
            Self::TruncatedImage => "truncated_image",
            Self::TooManyPixels => "too_many_pixels",
            Self::ModelFailed => "model_failed",
            Self::Rule => "rule",
            Self::TooSmall => "too_small",
            Self::OutputTooLarge => "output_too_large",
            Self::Stuck => "stuck",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to do with the record whose stage failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It may work later, not before the given wait. When attempts are spent: a dead letter with
    /// the reason.
    Retry(Reason, Option<Duration>),
    /// This record is poison: a dead letter.
    Reject(Reason),
    /// The machine is broken: rebuild it, then run the record again.
    Fail,
}

/// A record that is not a request. Always rejected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RequestError(pub String);

/// A failed fetch.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The scheme is not fetched here.
    #[error("scheme `{scheme}` is not fetched here; accepted: {accepted}")]
    UnsupportedScheme {
        /// The URL's scheme.
        scheme: String,
        /// The schemes that are fetched.
        accepted: String,
    },
    /// The host leads to an address that is not allowed.
    #[error("address {address} of {host} is blocked; fetch.allow_addresses can allow it")]
    BlockedAddress {
        /// The host as the URL names it.
        host: String,
        /// What it resolved to.
        address: String,
    },
    /// A file of this machine that the request may not have, and why.
    #[error("{0}")]
    BlockedFile(String),
    /// Text that is no URL, and why.
    #[error("not a URL: {0}")]
    BadUrl(String),
    /// Both in bytes, written as it would be sent.
    #[error("a URL of {length} bytes, more than the {limit} that can be asked for; shorten it")]
    UrlTooLong {
        /// Bytes it has.
        length: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// The time that one attempt may take is up.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// Another status than success.
    #[error("the server answered {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The wait that the server asked for.
        retry_after: Option<Duration>,
    },
    /// The connection failed or broke off; the same again may work.
    #[error("{0}")]
    Connection(String),
    /// The server does not speak HTTP as it should; the same again will not work.
    #[error("{0}")]
    Protocol(String),
    /// The body is too large.
    #[error("{got} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Bytes announced, or read so far.
        got: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Only where the caller holds credit already: what the body turned out to need does not fit
    /// now. The response is gone; release the credit, reserve `bytes` and ask again.
    #[error("no room for a body of {bytes} bytes at the moment")]
    NoRoom {
        /// Bytes that the body needs.
        bytes: u64,
    },
    /// The server asks not to be used for this, and how it says so.
    #[error("the server opted out: {0}")]
    OptedOut(String),
}

impl FetchError {
    /// What to do.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::UnsupportedScheme { .. } => Disposition::Reject(Reason::UnsupportedScheme),
            Self::BlockedAddress { .. } | Self::BlockedFile(_) => {
                Disposition::Reject(Reason::BlockedAddress)
            }
            Self::BadUrl(_) | Self::UrlTooLong { .. } => Disposition::Reject(Reason::BadRequest),
            Self::Timeout(_) => Disposition::Reject(Reason::FetchTimeout),
            Self::Status {
                status: 408 | 425 | 429 | 500 | 502 | 503 | 504,
                retry_after,
            } => Disposition::Retry(Reason::FetchStatus, *retry_after),
            Self::Status { .. } => Disposition::Reject(Reason::FetchStatus),
            Self::Connection(_) | Self::NoRoom { .. } => {
                Disposition::Retry(Reason::FetchFailed, None)
            }
            Self::Protocol(_) => Disposition::Reject(Reason::FetchFailed),
            Self::TooLarge { .. } => Disposition::Reject(Reason::TooLarge),
            Self::OptedOut(_) => Disposition::Reject(Reason::OptedOut),
        }
    }
}

/// A picture that cannot be decoded. Always rejected.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No picture, or of a kind that is not decoded here.
    #[error("{0}")]
    UnsupportedFormat(String),
    /// Damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The file ends before the picture does.
    #[error("{0}")]
    Truncated(String),
    /// More pixels than allowed.
    #[error("{width}x{height} pixels, more than the {limit} allowed")]
    TooManyPixels {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The most pixels of a picture.
        limit: u64,
    },
    /// Too narrow, or too long for its width; the text names the setting.
    #[error("{0}")]
    TooSmall(String),
}

impl DecodeError {
    /// What to do.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        Disposition::Reject(match self {
            Self::UnsupportedFormat(_) => Reason::UnsupportedFormat,
            Self::Corrupt(_) => Reason::CorruptImage,
            Self::Truncated(_) => Reason::TruncatedImage,
            Self::TooManyPixels { .. } => Reason::TooManyPixels,
            Self::TooSmall(_) => Reason::TooSmall,
        })
    }
}

/// A model that did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModelError {
    /// The request's own fault, which only the model's side can see: a prompt that the chat
    /// template or the model's length refuses, a picture it cannot take. The words say what to do.
    #[error("{0}")]
    Input(String),
    /// The run failed; it may be the batch, the machine, or one poisoned member.
    #[error("{0}")]
    Run(String),
    /// The session is unusable.
    #[error("{0}")]
    Broken(String),
}

impl ModelError {
    /// What to do.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Input(_) => Disposition::Reject(Reason::BadRequest),
            Self::Run(_) => Disposition::Retry(Reason::ModelFailed, None),
            Self::Broken(_) => Disposition::Fail,
        }
    }
}

/// A write that the broker did not confirm.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The partition was revoked before the write was handed over; nothing was written.
    #[error("the partition is no longer ours")]
    Revoked,
    /// The broker refuses a write of this size: a caption becomes a dead letter, a dead letter is
    /// written without its value.
    #[error("{bytes} bytes are more than the broker takes: {detail}")]
    TooLarge {
        /// Bytes of key, value and headers.
        bytes: usize,
        /// What the client or the broker said.
        detail: String,
    },
    /// The broker does not answer: the same write again, later.
    #[error("{0}")]
    Unavailable(String),
    /// The producer is unusable: the process gives up.
    #[error("{0}")]
    Fatal(String),
}
