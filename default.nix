# SPDX-License-Identifier: Apache-2.0
# So that `nix-env -i -f vita` installs a clone of this repository.
import ./nix
