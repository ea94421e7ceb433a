//! `vila2 doctor`: looks at everything `run` needs, changes nothing.

use clap::Args;
use serde_json::json;

use super::{Common, Failure, interruptible, output, progress};
use crate::{
    app,
    doctor::{self, Finding, Level},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The findings as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    // What is found is told once, in the table.
    let (config, layers) = common.load_whole("off")?;
    app::check_settings(&config, &layers)?;
    let json = arguments.json;
    interruptible(move || {
        let spinner = progress::spinner("looking at runtime, models, broker and limits");
        let findings = doctor::examine(&config, &layers);
        spinner.finish_and_clear();
        if json {
            output::json(&json!({ "worst": doctor::worst(&findings), "findings": findings }))?;
        } else {
            table(&findings)?;
        }
        let count = |level| findings.iter().filter(|found| found.level == level).count();
        let (faults, warnings) = (count(Level::Fault), count(Level::Warning));
        let told = format!(
            "{}, {}",
            plural(faults, "fault"),
            plural(warnings, "warning")
        );
        if faults > 0 {
            return Err(Failure::Failed(format!(
                "{told}; what to do stands beside each"
            )));
        }
        if !json {
            output::note(&told);
        }
        Ok(())
    })
}

fn table(findings: &[Finding]) -> Result<(), Failure> {
    let mut table = output::table(["", "looked at", "found"]);
    table.set_width(output::width());
    for finding in findings {
        let mut found = finding.found.clone();
        if !finding.advice.is_empty() {
            found.push_str("\n→ ");
            found.push_str(&finding.advice);
        }
        table.add_row([finding.level.to_string(), finding.subject.clone(), found]);
    }
    output::line(&table.to_string())
}

fn plural(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        count => output::plural(count as u64, what),
    }
}
