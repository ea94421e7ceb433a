//! `vila2 preview`: a sample of one's own pictures, and what it says about all of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{
    Common, Failure,
    asked::{self, Asked},
    output,
    trial::{SHOWN, Trial, Tried},
};
use crate::{
    app::gallery::Gallery,
    report::{
        self,
        preview::{Preview, Row},
    },
    trial::{forecast::Forecast, shares::Shares},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    asked: Asked,
    /// Caption so many of the inputs
    #[arg(long, value_name = "N", default_value_t = 50)]
    sample: u64,
    /// Chooses them
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// What an hour of this machine costs, for the forecast
    #[arg(long, value_name = "PRICE", value_parser = price)]
    price_per_hour: Option<f64>,
    /// Where the page and the sample's captions go; an earlier preview there is replaced
    #[arg(long, value_name = "DIR", default_value = "vila2-preview")]
    out: PathBuf,
    /// The figures as one JSON object
    #[arg(long)]
    json: bool,
}

fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
        _ => Err("a number of at least 0, without a currency, is expected".to_owned()),
    }
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let (config, layers) = arguments.asked.settings(common)?;
    let inputs = arguments.asked.open()?;
    let (count, sample) = asked::sample(&inputs, arguments.sample, arguments.seed)?;
    let trial = Trial {
        config: &config,
        layers: &layers,
        inputs: &inputs,
        count,
        sample: &sample,
        seed: arguments.seed,
        what: "captioning a sample",
        keeps_pictures: true,
    };
    let Tried { sampled, folder } = trial.run(&arguments.out)?;
    let shares = Shares::of(&sampled, arguments.seed);
    let forecast = Forecast::of(&sampled, arguments.price_per_hour, arguments.seed);
    let figures = json!({
        "schema": "vila2.preview/1",
        "inputs": count,
        "sample": sample.len(),
        "seed": arguments.seed,
        "shares": shares,
        "forecast": forecast,
    });
    write_json(&arguments.out.join("preview.json"), &figures)?;
    let preview = Preview::new(&shares, &forecast, arguments.seed);
    let mut shown = Gallery::shown(&folder.gallery())?;
    shown.truncate(SHOWN as usize);
    let summary = folder.totals().summary();
    let page = report::of_folder(folder.path(), &summary, shown, Some(&preview))
        .map_err(|error| Failure::Failed(error.to_string()))?;
    if arguments.json {
        output::json(&figures)?;
    } else {
        tell(&preview)?;
        output::note(&format!("look at {}", page.display()));
    }
    if sampled.captions.is_empty() {
        return Err(Failure::Failed(format!(
            "nothing was captioned: {} failed; see {}",
            output::plural(sampled.dead.len() as u64, "input"),
            folder.path().join("dead.jsonl").display()
        )));
    }
    Ok(())
}

fn tell(preview: &Preview) -> Result<(), Failure> {
    output::line(&preview.about)?;
    table("the sample", &preview.shares)?;
    table("the whole input", &preview.forecast)?;
    if !preview.warning.is_empty() {
        output::note(&preview.warning);
    }
    Ok(())
}

fn table(title: &str, rows: &[Row]) -> Result<(), Failure> {
    let mut table = output::table([title, "", "95 % interval"]);
    table.set_width(output::width());
    for row in rows {
        table.add_row([&row.name, &row.value, &row.interval].map(|text| output::visible(text)));
    }
    output::right_aligned(&mut table, 1);
    output::line(&table.to_string())
}

/// Writes a file of figures.
pub(super) fn write_json(path: &Path, figures: &serde_json::Value) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(figures).unwrap_or_default();
    text.push(b'\n');
    fs::write(path, text).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}
