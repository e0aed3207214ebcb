
# Behind `edit BOX --`, `lock BOX --`, `take BOX --` and `watch BOX --`, completes a command: its name, then its arguments.
_dipc__cli_or_command() {
    local at verb= plain
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            edit | lock | take | watch) verb=${COMP_WORDS[at]} ;;
            --) break ;;
        esac
    done
    if [[ -z $verb ]] || ((at == COMP_CWORD)); then
        _dipc__cli "$@"
        # Options are listed if they are asked for, or if there is nothing else.
        mapfile -t plain < <(printf '%s\n' "${COMPREPLY[@]}" | grep '^[^-]')
        if [[ ${COMP_WORDS[COMP_CWORD]} != -* ]] && ((${#plain[@]} > 0)); then
            COMPREPLY=("${plain[@]}")
        fi
    elif declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset $((at + 1))
    elif declare -F _command_offset >/dev/null; then
        _command_offset $((at + 1))
    elif ((at + 1 == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
    else
        COMPREPLY=()
    fi
}

complete -F _dipc__cli_or_command -o bashdefault -o default dipc-cli
