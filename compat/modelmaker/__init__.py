"""ModelMaker's spelling of Headway: scripts written for ``modelmaker`` 1.x run on a Headway server.

The server and the token are named by HEADWAY_URL and HEADWAY_TOKEN, or in ModelMaker's own ways, which win:
``Session(username=, password=, host_base=)`` or the configuration file. A password is a Headway token.
"""
