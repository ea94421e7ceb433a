//! The figures of a preview, with what each of them means.

use serde::Serialize;

use super::numbers::{bytes, count, ends, money, percent, span};
use crate::{
    stats::Estimate,
    trial::{
        forecast::Forecast,
        shares::{Counted, Shares},
    },
};

/// A figure for a person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: String,
    /// Its 95 % interval.
    pub interval: String,
    /// What it means.
    pub meaning: String,
}

/// What a preview says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// Which inputs it is about.
    pub about: String,
    /// The captions and dead letters of the sample.
    pub shares: Vec<Row>,
    /// The whole input.
    pub forecast: Vec<Row>,
    /// How the forecast was had, and what it does not know.
    pub notes: Vec<String>,
    /// What a person should know first; empty where all is well.
    pub warning: String,
}

impl Preview {
    /// Of a sample that a seed chose.
    #[must_use]
    pub fn new(shares: &Shares, forecast: &Forecast, seed: u64) -> Self {
        let whole = count(forecast.inputs as f64);
        Self {
            about: format!(
                "{} of {whole} inputs, drawn at random (seed {seed}), captioned by the chain as it is \
                 configured",
                count(forecast.sample as f64)
            ),
            shares: share_rows(shares),
            forecast: forecast_rows(forecast),
            notes: notes(forecast),
            warning: warning(forecast),
        }
    }
}

fn share_rows(shares: &Shares) -> Vec<Row> {
    let counted = |name: &str, counted: Counted, meaning: &str| Row {
        name: name.to_owned(),
        value: format!(
            "{} of {}: {}",
            count(counted.hits as f64),
            count(counted.of as f64),
            percent(counted.share.value)
        ),
        interval: ends(counted.share, percent),
        meaning: meaning.to_owned(),
    };
    let mut rows = vec![
        counted(
            "truncated captions",
            shares.truncated,
            "The captioner reached its limit of tokens before it was done (finish is length); the \
             unfinished last sentence stays out of the text. stages.caption.max_tokens raises the \
             limit.",
        ),
        counted(
            "repeated captions",
            shares.repeated,
            "The captioner said the same again and again and was cut off (finish is repeat).",
        ),
        counted(
            "refused captions",
            shares.refused,
            "The captioner's text begins as a refusal does: “I'm sorry”, “I cannot”, “As an AI” and \
             the like.",
        ),
        counted(
            "captions without evidence",
            shares.unverified,
            "Captions of which every clause is `unverified`: the captioner says so, and no box, no line \
             of text and no relation between boxes supports any of it. With all specialists left out \
             that is every caption.",
        ),
        Row {
            name: "clauses without evidence".to_owned(),
            value: percent(shares.unverified_clauses.value),
            interval: ends(shares.unverified_clauses, percent),
            meaning:
                "Clauses without any evidence among all clauses of all captions of the sample."
                    .to_owned(),
        },
        counted(
            "dead letters",
            shares.dead,
            "Inputs of the sample that have no caption, because they could not be fetched or decoded, \
             or a model or rule refused them. dead.jsonl names each.",
        ),
    ];
    for (reason, dead) in &shares.dead_by_reason {
        let meaning = "Dead letters of this reason, as a share of all inputs of the sample.";
        rows.push(counted(&format!("… {reason}"), *dead, meaning));
    }
    rows
}

fn forecast_rows(forecast: &Forecast) -> Vec<Row> {
    let row = |name: &str, estimate: Estimate, text: &dyn Fn(f64) -> String, meaning: &str| Row {
        name: name.to_owned(),
        value: text(estimate.value),
        interval: ends(estimate, text),
        meaning: meaning.to_owned(),
    };
    let hours = |hours: f64| span(hours * 3600.0);
    let mut rows = Vec::new();
    if let Some(time) = forecast.hours {
        let meaning = "How long one process takes on this machine, as busy as it was during the \
                       sample, from when the models are loaded to the last answer.";
        rows.push(row("time", time, &hours, meaning));
    }
    if let (Some(price), Some(hour)) = (forecast.price, forecast.price_per_hour) {
        let meaning =
            format!("That time at {hour} an hour. Whatever else costs money is not in it.");
        rows.push(row("price", price, &money, &meaning));
    }
    rows.push(row(
        "captions",
        forecast.captions,
        &count,
        "Rows that will be written: inputs that do not end as dead letters.",
    ));
    rows.push(row(
        "dead letters",
        forecast.dead,
        &count,
        "Inputs that will have no caption, if the rest of the input is as the sample.",
    ));
    rows.push(row(
        "pictures read",
        forecast.bytes_fetched,
        &bytes,
        "Bytes of pictures, read from disk or over the network; what a server compresses on the way, \
         and attempts that failed, are not in it.",
    ));
    let meaning = format!(
        "Bytes of the Parquet files of captions: {} a row. Dead letters and the page are not in it.",
        bytes(forecast.bytes_per_caption)
    );
    rows.push(row(
        "captions written",
        forecast.bytes_written,
        &bytes,
        &meaning,
    ));
    rows
}

fn notes(forecast: &Forecast) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Some(pace), true) = (forecast.seconds_per_caption, forecast.is_steady) {
        notes.push(format!(
            "The time is that of the sample ({}), and for each captioned picture of the rest {} ({}): \
             how long a picture is in {}, which everything else waits for, divided by how many are \
             there at a time, while it is full ({} of its work). How the chain fills up and runs empty \
             comes once and is not multiplied; the loading of the models is left out.",
            span(forecast.sample_seconds),
            span(pace.value),
            ends(pace, span),
            forecast.waits_for.join(" and "),
            percent(forecast.measured),
        ));
    }
    notes.push(
        "The interval of the time says how far off that may be because the sample has these pictures \
         and no others: how different their work is, and how many end as dead letters. Where the pace \
         jumped from one tenth of the sample's time to the next by more than pictures explain, the \
         machine itself was uneven, and that is counted instead. A machine that is busier or idler \
         on the day, and more processes, are not in it."
            .to_owned(),
    );
    notes.push(
        "Counts come from Wilson's interval for what is still to come, bytes from a bootstrap over \
         the sample, those written also from how rows compress the better the more there are. A \
         picture that occurs twice costs nothing the second time: all are taken as new."
            .to_owned(),
    );
    notes
}

fn warning(forecast: &Forecast) -> String {
    if forecast.hours.is_none() {
        return "Nothing of the sample was captioned, so there is no forecast of the time."
            .to_owned();
    }
    if !forecast.is_steady && forecast.sample < forecast.inputs {
        return format!(
            "The sample was too small to fill the chain, so a long run is faster than it: the time is \
             what it takes at most. Take a --sample several times as large as {}.",
            count(forecast.sample as f64)
        );
    }
    String::new()
}
