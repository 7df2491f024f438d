"""What a control session's lines come to. Pure: punts and a clock value in, effects out, in the order of writing.

Here live the sessions, their streams, the judgement of each line, what a receiver is owed, and expectations. It must
know no map, TAP or socket, nor which protocol it runs: plug-ins decide, and the helper carries out.
"""
