//! Joining and evicting rows: the only copies of caches on the host.

use std::time::Instant;

use vila2_actors::error::ModelError;

use super::Batch;
use crate::models::generation::{
    kv::{Cache, RowOf},
    row::Row,
};

/// What one prefill gave: a cache, and the rows of it that go on, by their place in it.
pub(super) type Group = (Cache, Vec<(usize, Row)>);

impl Batch {
    /// Lets prefilled rows join: into dead rows' slots where they fit, else by a rebuild.
    pub(super) fn join(&mut self, joining: Vec<Group>) -> Result<(), ModelError> {
        let live = self.live();
        let new: usize = joining.iter().map(|(_, rows)| rows.len()).sum();
        if new == 0 {
            return Ok(());
        }
        if live > 0 {
            self.figures.joins += new as u64;
        } else {
            self.rows.clear();
            self.cache = None;
        }
        let length = self.cache.as_ref().map_or(0, Cache::length);
        let fits = |row: &Row| row.cached() <= length;
        let dead = self.rows.len() - live;
        if let Some(cache) = &mut self.cache
            && new <= dead
            && joining
                .iter()
                .all(|(_, rows)| rows.iter().all(|(_, r)| fits(r)))
        {
            let started = Instant::now();
            let mut slots = 0..self.rows.len();
            for (from, rows) in joining {
                for (at, row) in rows {
                    let slot = slots
                        .find(|slot| self.rows[*slot].request.is_none())
                        .expect("bug: fewer dead rows than counted");
                    let source = RowOf {
                        cache: &from,
                        row: at,
                        length: row.cached(),
                    };
                    cache.put(&self.decoder.memory(), slot, source)?;
                    self.rows[slot] = row;
                }
            }
            self.waste.put(started.elapsed(), new, self.rows.len());
            return Ok(());
        }
        // The first group of an idle batch is its cache, as it came out of the graph.
        if self.cache.is_none() && joining.len() == 1 && joining[0].0.rows() == new {
            for (cache, rows) in joining {
                self.cache = Some(cache);
                self.rows = rows.into_iter().map(|(_, row)| row).collect();
            }
            self.waste.clear();
            return Ok(());
        }
        self.rebuild(joining)
    }

    /// Builds the caches anew from the rows that live and those that join.
    pub(super) fn rebuild(&mut self, joining: Vec<Group>) -> Result<(), ModelError> {
        let started = Instant::now();
        let old = self.cache.take();
        let rows = std::mem::take(&mut self.rows);
        let (caches, groups): (Vec<Cache>, Vec<Vec<(usize, Row)>>) = joining.into_iter().unzip();
        let living: Vec<(usize, Row)> = rows
            .into_iter()
            .enumerate()
            .filter(|(_, row)| row.request.is_some())
            .collect();
        let sources = old.iter().zip([living]).chain(caches.iter().zip(groups));
        let (mut from, mut kept) = (Vec::new(), Vec::new());
        for (cache, rows) in sources {
            for (at, row) in rows {
                from.push(RowOf {
                    cache,
                    row: at,
                    length: row.cached(),
                });
                kept.push(row);
            }
        }
        self.cache = Some(Cache::gather(&self.decoder.memory(), &from)?);
        self.rows = kept;
        self.figures.rebuilds += 1;
        self.waste.rebuilt(started.elapsed());
        Ok(())
    }
}
