"""The five documents of other SDKs whose interfaces work here: is every line of them kept?"""
