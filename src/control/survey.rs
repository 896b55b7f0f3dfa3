// SPDX-License-Identifier: Apache-2.0
//! The first step of a change: devices are read, and programs attached that no frame goes through yet. Done by a thread of
//! its own, since devices may take their time.

use super::devices::DeviceId;
use super::layout::{Layout, RunningDevices};
use super::{ApplyError, Options};
use crate::config::Config;
use crate::device::{Device, Filter, Pins, Program};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The devices of a configuration, ready for workers.
pub(super) struct Survey {
    pub layout: Layout,
    pub programs: BTreeMap<DeviceId, Arc<Program>>,
    /// Something that does not run, although its interface is there: only trying again can help.
    pub fault: Option<ApplyError>,
}

impl Survey {
    /// `is_first` says that nothing has run before.
    pub(super) fn of(
        config: &Config,
        options: &Options,
        known: &RunningDevices,
        is_first: bool,
        mut programs: BTreeMap<DeviceId, Arc<Program>>,
    ) -> Result<Survey, ApplyError> {
        let pins = Pins::of(&options.name);
        if config.fail_closed {
            pins.prepare()?;
        }
        let mut layout = Layout::of(config, options, known)?;
        let filters = layout.filters(config);
        let mut devices: Vec<(DeviceId, Device)> =
            layout.devices().into_iter().map(|(place, device)| (place, device.clone())).collect();
        // The kernel attaches nothing to a device while one directly above it has a program.
        devices.sort_by_key(|(_, device)| device.height());
        programs.retain(|place, _| devices.iter().any(|(other, _)| other == place));
        let mut fault = None;
        for (place, device) in &devices {
            let filters = filters.get(place).map_or(&[][..], Vec::as_slice);
            let mut attached = attach(device, filters, &pins, &devices, &mut programs);
            if attached.is_err() {
                programs.remove(place);
            } else if let Some(program) = programs.get(place)
                && layout.has_worker_on(place)
                && !known.has_worker_on(place)
            {
                // The program stays in any case: nothing is to pass in clear text.
                attached = program.check_tags(device).map_err(ApplyError::from);
            }
            if let Err(error) = attached {
                if is_first && error.is_of_the_process() {
                    return Err(error);
                }
                let text = error.to_string();
                layout.do_without(place, error)?;
                fault = Some(ApplyError::Waits(text));
            }
        }
        Ok(Survey { layout, programs, fault })
    }
}

/// Sees to it that a device has its program, lower devices first.
fn attach(
    device: &Device,
    filters: &[Filter],
    pins: &Pins,
    devices: &[(DeviceId, Device)],
    programs: &mut BTreeMap<DeviceId, Arc<Program>>,
) -> Result<(), ApplyError> {
    let present = programs.get(&device.index);
    if present.is_some_and(|program| program.is_attached(device.index)) {
        return Ok(());
    }
    // These are attached again when it is their turn, which is later.
    for upper in device.uppers() {
        let above = devices.iter().find(|(_, other)| other.kernel_name == upper);
        if let Some(program) = above.and_then(|(place, _)| programs.get(place)) {
            program.detach();
        }
    }
    match present {
        Some(program) => {
            tracing::warn!("interface {}: the XDP program was detached, attaching it again", device.name);
            program.attach_again(device)?;
        }
        None => {
            let program = Program::attach_with(device, filters, Some(pins))?;
            programs.insert(device.index, Arc::new(program));
        }
    }
    Ok(())
}
