"""What happens to gateways, done to a running one: other people's commands, lost files, dead daemons."""
