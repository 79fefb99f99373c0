"""Import path of existing programs: `workbench.test.test_utils`."""
