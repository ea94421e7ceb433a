//! What can go wrong in a stage, and what is to be done about it.

use std::{fmt, time::Duration};

/// The closed list of dead-letter reasons (CONTRACTS.md, `vila2-reason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the documentation
pub enum Reason {
    BadRequest,
    UnsupportedScheme,
    BlockedAddress,
    FetchTimeout,
    FetchStatus,
    FetchFailed,
    TooLarge,
    OptedOut,
    UnsupportedFormat,
    CorruptImage,
    TruncatedImage,
    TooManyPixels,
    ModelFailed,
    OutputTooLarge,
    Stuck,
}

impl Reason {
    /// Every reason, in the contract's order.
    pub const ALL: [Self; 15] = [
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
#[allow(missing_docs)]
pub enum FetchError {
    #[error("scheme `{scheme}` is not fetched here; accepted: {accepted}")]
    UnsupportedScheme { scheme: String, accepted: String },
    #[error("address {address} of {host} is blocked; fetch.allow_addresses can allow it")]
    BlockedAddress { host: String, address: String },
    /// A file of this machine that the request may not have, and why.
    #[error("{0}")]
    BlockedFile(String),
    #[error("not a URL: {0}")]
    BadUrl(String),
    /// Both in bytes, written as it would be sent.
    #[error("a URL of {length} bytes, more than the {limit} that can be asked for; shorten it")]
    UrlTooLong { length: usize, limit: usize },
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// `retry_after` is what the server asked for.
    #[error("the server answered {status}")]
    Status {
        status: u16,
        retry_after: Option<Duration>,
    },
    #[error("{0}")]
    Connection(String),
    #[error("{0}")]
    Protocol(String),
    #[error("{got} bytes, more than the {limit} allowed")]
    TooLarge { got: u64, limit: u64 },
    /// Only where the caller holds credit already: what the body turned out to need does not fit
    /// now. The response is gone; release the credit, reserve `bytes` and ask again.
    #[error("no room for a body of {bytes} bytes at the moment")]
    NoRoom { bytes: u64 },
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
#[allow(missing_docs)]
pub enum DecodeError {
    #[error("{0}")]
    UnsupportedFormat(String),
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    Truncated(String),
    #[error("{width}x{height} pixels, more than the {limit} allowed")]
    TooManyPixels { width: u32, height: u32, limit: u64 },
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
        })
    }
}

/// A model that did not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs)]
pub enum ModelError {
    /// This input is refused: poison.
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
            Self::Input(_) => Disposition::Reject(Reason::ModelFailed),
            Self::Run(_) => Disposition::Retry(Reason::ModelFailed, None),
            Self::Broken(_) => Disposition::Fail,
        }
    }
}

/// A write that the broker did not confirm.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PublishError {
    /// The partition was revoked before the write was handed over; nothing was written.
    #[error("the partition is no longer ours")]
    Revoked,
    #[error("{bytes} bytes are more than the broker takes: {detail}")]
    TooLarge { bytes: usize, detail: String },
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Fatal(String),
}

impl PublishError {
    /// What to do; `Revoked` records are simply dropped as stale, whatever this says.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::TooLarge { .. } => Disposition::Reject(Reason::OutputTooLarge),
            Self::Revoked | Self::Unavailable(_) => {
                Disposition::Retry(Reason::OutputTooLarge, None)
            }
            Self::Fatal(_) => Disposition::Fail,
        }
    }
}
